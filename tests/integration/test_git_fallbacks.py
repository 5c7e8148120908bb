"""The fallback matrix's Git and inline cells through a real Git host, and a log that refuses a message."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.assembly.consuming import consuming
from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.assembly.stores import open_log
from core.consumer import RunSummary
from core.errors import MessageTooLarge
from core.events.codec import decode_request
from core.events.request import Carrier
from core.events.topics import REQUESTED_V2
from core.log.base import OutgoingMessage, Position, PublishFailure
from core.log.embedded import EmbeddedLog
from core.progress import BreakerChanged, RunEvent
from core.settings import Settings, load
from core.summary import IngestSummary
from tests.bare_repositories import BareRepository
from tests.integration.test_git_reference import Workplace
from tests.repositories import commit
from tests.servers.git_http import Fault, GitHttpServer

SMALL = b"x = 1\n"
LARGE = b"".join(b"line %d\n" % number for number in range(20_000))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitHttpServer]:
    (tmp_path / "served").mkdir()
    BareRepository(tmp_path / "served" / "shop.git").commit({"small.py": SMALL, "large.txt": LARGE})
    with GitHttpServer(tmp_path / "served") as running:
        yield running


@pytest.fixture
def work_tree(tmp_path: Path, server: GitHttpServer) -> Path:
    return Workplace(tmp_path / "work", server.url("shop.git")).path


def settings(home: Path, **flags: Any) -> Settings:
    given = {
        "git.schemes": "http",
        "git.networks": "127.0.0.0/8",
        "agent.workers": 1,
        "agent.attempts": 1,
        "cache.max_size_gb": 0,
    }
    return load({"home": home, **given, **flags}, environ={}).settings


async def ingest(configured: Settings, root: Path) -> IngestSummary:
    async with ingestion(configured, Target(root, project_name="shop")) as job:
        return await job.publisher.publish(job.planner.stream())


async def drain(configured: Settings, events: list[RunEvent]) -> RunSummary:
    async with consuming(configured, listener=events.append, service=False) as agent:
        return await agent.run(drain=True, stop=asyncio.Event())


async def test_a_git_host_that_fails_goes_inline_then_to_storage(
    tmp_path: Path, server: GitHttpServer, work_tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults.append(Fault("status", on="info/refs", status=503))
    configured = settings(tmp_path / "home", **{"publish.content_strategy": "git_reference"})
    with caplog.at_level(logging.WARNING):
        summary = await ingest(configured, work_tree)
    assert summary.faults == []
    assert {name: totals.files for name, totals in summary.by_strategy.items()} == {
        "inline": 1,
        "object_storage": 1,
    }
    assert summary.fallbacks == {
        "git_reference -> inline: backend_unavailable": 1,
        "git_reference -> object_storage: backend_unavailable": 1,
    }
    assert "fallback git_reference -> inline" in caplog.text


async def test_a_git_host_that_fails_and_no_storage_is_a_skip_with_the_reason(
    tmp_path: Path, server: GitHttpServer, work_tree: Path
) -> None:
    server.faults.append(Fault("status", on="info/refs", status=503))
    configured = settings(tmp_path / "home", **{"storage.provider": "none"})
    summary = await ingest(configured, work_tree)
    assert [(skip.path, skip.reason) for skip in summary.faults] == [("large.txt", "infeasible")]
    assert "git_reference: " in summary.faults[0].detail
    assert summary.fallbacks == {"git_reference -> skip: backend_unavailable": 1}


async def test_a_commit_that_was_not_pushed_goes_to_storage(tmp_path: Path, work_tree: Path) -> None:
    commit(work_tree, {"new.txt": LARGE[::-1]})
    async with ingestion(settings(tmp_path / "home"), Target(work_tree)) as job:
        summary = await job.publisher.publish(job.planner.stream())
    assert summary.faults == []
    assert summary.by_strategy.keys() >= {"object_storage"}


async def test_inline_content_that_was_damaged_comes_from_git(tmp_path: Path, work_tree: Path) -> None:
    configured = settings(tmp_path / "home")
    await ingest(configured, work_tree)
    await drain(configured, [])
    async with open_log(configured) as log:
        (message,) = [message async for message in log.browse(REQUESTED_V2)]
        event = json.loads(message.value or b"")
        for file in event["payload"]["files"]:
            if file["content_strategy"] == "inline":
                file["content"] = "x = 2\n"
        await log.publish(REQUESTED_V2, [OutgoingMessage(b"key", json.dumps(event).encode())])
    summary = await drain(configured, [])
    assert (summary.files_processed, summary.files_failed) == (2, 0)
    assert summary.fallbacks == {"inline -> git_reference": 1}


async def test_a_git_host_that_fails_repeatedly_is_left_alone_and_storage_stands_in(
    tmp_path: Path, server: GitHttpServer, work_tree: Path
) -> None:
    home = tmp_path / "home"
    await ingest(settings(home, **{"publish.content_strategy": "object_storage"}), work_tree)
    await drain(settings(home), [])
    by_git = settings(home, **{"publish.content_strategy": "git_reference", "breaker.failures": 2})
    async with ingestion(by_git, Target(work_tree, project_name="shop", force_reindex=True)) as job:
        assert (await job.publisher.publish(job.planner.stream())).by_strategy.keys() == {"git_reference"}
    server.faults.append(Fault("status", on="", status=503))
    events: list[RunEvent] = []
    summary = await drain(by_git, events)
    # The large file was never read whole: without a checksum nothing names its object.
    assert (summary.files_processed, summary.files_failed, summary.dead_lettered) == (1, 1, 1)
    assert summary.fallbacks == {"git_reference -> object_storage": 1}
    assert [event.state for event in events if isinstance(event, BreakerChanged)] == ["open"]


async def test_a_message_the_log_refuses_is_upgraded_to_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(EmbeddedLog):
        async def publish(
            self, topic: str, messages: Sequence[OutgoingMessage]
        ) -> Sequence[Position | PublishFailure]:
            if len(messages[0].value or b"") > 4_000:
                return [PublishFailure(0, MessageTooLarge("over 4,000 B"))]
            return await super().publish(topic, messages)

    monkeypatch.setattr("core.assembly.stores.EmbeddedLog", Refusing)
    root = commit(tmp_path / "r", {"small.py": SMALL, "middle.py": b"y = 2\n" * 1_000})
    configured = settings(tmp_path / "home")
    summary = await ingest(configured, root)
    assert (summary.files_published, summary.skipped) == (2, [])
    assert summary.fallbacks == {"inline -> object_storage: message_too_large": 1}
    async with open_log(configured) as log:
        requests = [decode_request(message.value) async for message in log.browse(REQUESTED_V2)]
    carriers = {file.relative_path: file.carrier for request in requests for file in request.files}
    assert carriers == {"small.py": Carrier.INLINE, "middle.py": Carrier.OBJECT_STORAGE}
