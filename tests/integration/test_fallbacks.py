"""The fallback matrix's storage cells through a real S3 server behind a proxy that injects the fault."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.assembly.consuming import consuming
from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.assembly.stores import open_log
from core.consumer import RunSummary
from core.events.topics import REQUESTED_V2
from core.log.base import OutgoingMessage
from core.progress import BreakerChanged, FallbackUsed, FileResolved, FilesScanned, RunEvent
from core.settings import Settings, load
from core.summary import IngestSummary
from tests.repositories import commit
from tests.servers.fault_proxy import Fault, FaultProxy, Reset, Status, fault_proxy
from tests.servers.s3 import S3Server

SMALL = {f"small{number:02}.py": b"x = %d\n" % number for number in range(30)}
LARGE = {"large.py": b"y = 1\n" * 30_000}


@pytest.fixture
async def proxy(ministack: S3Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FaultProxy]:
    for name, value in ministack.environ().items():
        monkeypatch.setenv(name, value)
    async with fault_proxy(ministack.port) as running:
        yield running


@pytest.fixture
def bucket(ministack: S3Server) -> str:
    name = f"fallbacks-{uuid.uuid4().hex[:12]}"
    ministack.client().create_bucket(Bucket=name)
    return name


def settings(home: Path, proxy: FaultProxy, bucket: str, **more: Any) -> Settings:
    flags = {
        "home": home,
        "storage.provider": "minio",
        "storage.bucket": bucket,
        "storage.endpoint": proxy.endpoint,
        "storage.allow_http": True,
        "cache.max_size_gb": 0,
        "publish.content_strategy": "object_storage",
        "agent.attempts": 1,
        "agent.workers": 1,
        "breaker.pause": "60s",
    }
    return load({**flags, **more}, environ={}).settings


async def ingest(
    configured: Settings,
    root: Path,
    events: list[RunEvent],
    proxy: FaultProxy,
    after_start: Fault = None,
) -> IngestSummary:
    def listen(event: RunEvent) -> None:
        events.append(event)
        if isinstance(event, FilesScanned) and after_start:
            proxy.always = after_start

    async with ingestion(configured, Target(root, project_name="shop"), listener=listen) as job:
        return await job.publisher.publish(job.planner.stream())


async def drain(configured: Settings, events: list[RunEvent]) -> RunSummary:
    async with consuming(configured, listener=events.append, service=False) as agent:
        return await agent.run(drain=True, stop=asyncio.Event())


async def test_storage_down_at_the_start_goes_inline_and_what_does_not_fit_is_skipped(
    tmp_path: Path, proxy: FaultProxy, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.always = Reset()
    events: list[RunEvent] = []
    root = commit(tmp_path / "r", SMALL | LARGE)
    with caplog.at_level(logging.WARNING):
        summary = await ingest(settings(tmp_path / "home", proxy, bucket), root, events, proxy)
    assert summary.fallbacks == {
        "object_storage -> inline: backend_unavailable": 30,
        "object_storage -> skip: backend_unavailable": 1,
    }
    assert (summary.files_published, [skip.path for skip in summary.faults]) == (30, ["large.py"])
    assert "object_storage" in summary.faults[0].detail
    assert not [line for line in proxy.requests if not line.startswith("GET")]
    assert sum(isinstance(event, FallbackUsed) for event in events) == 31
    assert "fallback object_storage -> inline" in caplog.text


async def test_storage_that_dies_midway_is_left_alone(
    tmp_path: Path, proxy: FaultProxy, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[RunEvent] = []
    root = commit(tmp_path / "r", {f"f{number:03}.py": b"x = %d\n" % number for number in range(200)})
    with caplog.at_level(logging.WARNING):
        summary = await ingest(settings(tmp_path / "home", proxy, bucket), root, events, proxy, Reset())
    assert (summary.files_published, summary.faults) == (200, [])
    assert summary.fallbacks["object_storage -> inline: circuit_open"] >= 150
    assert sum(summary.fallbacks.values()) == 200
    assert len(proxy.requests) < 60  # those already in flight, each sent again once by the HTTP client
    assert [event.state for event in events if isinstance(event, BreakerChanged)] == ["open"]
    assert "circuit breaker of object_storage: closed -> open" in caplog.text


async def test_storage_that_refuses_the_credentials_goes_inline(
    tmp_path: Path, proxy: FaultProxy, bucket: str
) -> None:
    root = commit(tmp_path / "r", SMALL)
    summary = await ingest(settings(tmp_path / "home", proxy, bucket), root, [], proxy, Status(403))
    assert summary.fallbacks == {"object_storage -> inline: access_denied": 30}
    assert (summary.files_published, summary.skipped) == (30, [])


async def published(configured: Settings, root: Path) -> None:
    async with ingestion(configured, Target(root, project_name="shop")) as job:
        summary = await job.publisher.publish(job.planner.stream())
    assert summary.fallbacks == {}


async def test_a_link_that_is_refused_is_read_by_key(tmp_path: Path, proxy: FaultProxy, bucket: str) -> None:
    configured = settings(tmp_path / "home", proxy, bucket)
    await published(configured, commit(tmp_path / "r", LARGE))
    proxy.requests.clear()
    proxy.only = "X-Amz-Signature"
    proxy.script.append(Status(403))
    events: list[RunEvent] = []
    summary = await drain(configured, events)
    assert (summary.files_processed, summary.fallbacks) == (1, {})
    first, second = [line for line in proxy.requests if "/projects/" in line]
    assert "X-Amz-Signature" in first
    assert "X-Amz-Signature" not in second


async def test_storage_down_without_a_stand_in_is_dead_lettered(
    tmp_path: Path, proxy: FaultProxy, bucket: str
) -> None:
    configured = settings(tmp_path / "home", proxy, bucket)
    await published(configured, commit(tmp_path / "r", SMALL))
    proxy.always = Reset()
    events: list[RunEvent] = []
    summary = await drain(configured, events)
    assert (summary.files_failed, summary.dead_lettered, summary.by_source) == (30, 1, {})
    assert any(isinstance(event, BreakerChanged) and event.state == "open" for event in events)


async def test_a_file_referred_to_in_git_is_found_in_storage(
    tmp_path: Path, proxy: FaultProxy, bucket: str
) -> None:
    """The event's Git host does not exist; an earlier run has stored the content."""
    configured = settings(tmp_path / "home", proxy, bucket)
    await published(configured, commit(tmp_path / "r", LARGE))
    await drain(configured, [])
    async with open_log(configured) as log:
        (message,) = [message async for message in log.browse(REQUESTED_V2)]
        event = json.loads(message.value or b"")
        event["payload"] |= {"git_url": "https://git.invalid/shop.git", "git_ref": "1" * 40}
        (file,) = event["payload"]["files"]
        for name in ("content_url", "content_url_type", "content_url_expires_at", "object_key"):
            del file[name]
        file["content_strategy"] = "git_reference"
        await log.publish(REQUESTED_V2, [OutgoingMessage(b"key", json.dumps(event).encode())])
    events: list[RunEvent] = []
    summary = await drain(configured, events)
    assert summary.fallbacks == {"git_reference -> object_storage": 1}
    (resolved,) = [each for each in events if isinstance(each, FileResolved)]
    assert (resolved.source, resolved.bytes) == ("object_storage", len(LARGE["large.py"]))
