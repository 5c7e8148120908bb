"""One trace from the publisher through the log to the results, and spans at a real collector's door."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ExportedSpan

from core.assembly.consuming import consuming
from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.assembly.stores import open_log
from core.events.codec import decode_request
from core.events.topics import COMPLETED, REQUESTED_V2
from core.log.base import LogMessage
from core.progress import RunEvent, SpanEnded
from core.settings import Settings, load
from core.telemetry.trace import HEADER, parse
from tests.repositories import commit


def settings_of(tmp_path: Path, **more: object) -> Settings:
    given = {"home": tmp_path / "home", "agent.workers": 1, "log.partitions": 1, **more}
    return load(given, environ={}).settings


async def run(settings: Settings, repository: Path) -> list[RunEvent]:
    """Publish and process; what both sides told."""
    events: list[RunEvent] = []
    async with ingestion(settings, Target(repository, project_name="shop"), listener=events.append) as job:
        await job.publisher.publish(job.planner.stream())
    async with consuming(settings, listener=events.append, service=False) as agent:
        await agent.run(drain=True, stop=asyncio.Event())
    return events


async def only_message(settings: Settings, topic: str) -> LogMessage:
    async with open_log(settings) as log:
        (message,) = [message async for message in log.browse(topic)]
    return message


async def test_one_trace_links_publisher_event_consumer_and_outcome(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    events = await run(settings, commit(tmp_path / "shop"))
    spans = {event.name: event for event in events if isinstance(event, SpanEnded)}
    ingest, publish, process = (spans[name] for name in ("ingest", "publish batch", "process batch"))
    assert {span.trace_id for span in spans.values()} == {ingest.trace_id}
    assert (publish.parent_id, process.parent_id) == (ingest.span_id, publish.span_id)

    request = await only_message(settings, REQUESTED_V2)
    decoded = decode_request(request.value)
    assert (decoded.trace_id, decoded.span_id) == (publish.trace_id, publish.span_id)
    carried = parse(dict(request.headers)[HEADER])
    assert carried
    assert carried.span_id == publish.span_id
    outcome = parse(dict((await only_message(settings, COMPLETED)).headers)[HEADER])
    assert outcome
    assert outcome.span_id == process.span_id


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[ExportedSpan]]]:
    """Where spans are sent to by OTLP over HTTP: its URL, and what arrived."""
    arrived: list[ExportedSpan] = []

    async def take(request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await request.read())
        for resource in message.resource_spans:
            for scope in resource.scope_spans:
                arrived.extend(scope.spans)
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", arrived
    finally:
        await runner.cleanup()


async def test_spans_are_exported_with_their_own_ids_and_parents(tmp_path: Path) -> None:
    async with collector() as (url, arrived):
        settings = settings_of(tmp_path, **{"telemetry.otlp_endpoint": url})
        events = await run(settings, commit(tmp_path / "shop"))
    told = {event.name: event for event in events if isinstance(event, SpanEnded)}
    assert {span.name: span.span_id.hex() for span in arrived} == {
        name: event.span_id for name, event in told.items()
    }
    parents = {span.name: span.parent_span_id.hex() or None for span in arrived}
    assert parents == {name: event.parent_id for name, event in told.items()}
    assert {span.trace_id.hex() for span in arrived} == {told["ingest"].trace_id}
    assert all(span.end_time_unix_nano >= span.start_time_unix_nano > 0 for span in arrived)


def test_without_an_endpoint_nothing_of_opentelemetry_is_loaded(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from core.settings import load\n"
        "from core.telemetry.span_export import exporting_spans\n"
        "async def main():\n"
        "    async with exporting_spans(load({}, environ={}).settings.telemetry, 'x') as listener:\n"
        "        listener(None)\n"
        "asyncio.run(main())\n"
        "print(any(name.startswith('opentelemetry') for name in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "False\n"


async def test_an_endpoint_without_the_extra_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.errors import ConfigurationError

    monkeypatch.setitem(sys.modules, "core.telemetry.otel", None)
    settings = settings_of(tmp_path, **{"telemetry.otlp_endpoint": "http://127.0.0.1:1"})
    with pytest.raises(ConfigurationError) as caught:
        async with consuming(settings):
            pass
    assert "archon-ingest[otel]" in (caught.value.hint or "")
