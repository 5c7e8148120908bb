"""Metrics left behind by a run that ends."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from core.events.common import ContentStrategy
from core.progress import FilesPublished
from core.settings.operations import TelemetrySettings
from core.telemetry.export import export
from core.telemetry.metrics import Metrics


def published() -> Metrics:
    metrics = Metrics(CollectorRegistry())
    metrics(FilesPublished("p", "j", ContentStrategy.INLINE, 7, 70, 90, 0.5))
    return metrics


async def test_the_textfile_holds_the_run(tmp_path: Path) -> None:
    file = tmp_path / "archon.prom"
    await export(published(), TelemetrySettings(textfile=file), now=lambda: 1234.0)
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
    }
    assert samples["archon_ingestion_files_total", "inline", "publish"] == 7
    assert samples["archon_last_run_timestamp_seconds", "publish"] == 1234


async def test_a_plan_overwrites_nothing(tmp_path: Path) -> None:
    file = tmp_path / "archon.prom"
    await export(Metrics(CollectorRegistry()), TelemetrySettings(textfile=file))
    assert not file.exists()


async def test_what_cannot_be_delivered_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = TelemetrySettings(textfile=tmp_path / "gone" / "archon.prom", pushgateway="http://127.0.0.1:1")
    with caplog.at_level(logging.WARNING):
        await export(published(), settings)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "the metrics are not written",
        "the metrics are not pushed",
    ]


async def test_the_gateway_gets_one_group_per_host() -> None:
    pushed: dict[str, str] = {}

    async def take(request: web.Request) -> web.Response:
        pushed[f"{request.method} {request.path}"] = await request.text()
        return web.Response(status=202)

    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        await export(published(), TelemetrySettings(pushgateway=url))
    finally:
        await runner.cleanup()
    ((where, text),) = pushed.items()
    assert where == f"PUT /metrics/job/archon-ingest/instance/{socket.gethostname()}"
    assert 'archon_ingestion_files_total{content_strategy="inline",side="publish"} 7.0' in text
