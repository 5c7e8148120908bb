"""Both halves of real runs meet: at an agent of this machine, and over the results topic."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from core.assembly.consuming import consuming
from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.assembly.stores import event_source, open_history, open_log
from core.events.intelligence import Delivery
from core.events.record import FileRecord
from core.events.topics import FAILED, FILE_INTELLIGENCE
from core.history import observing
from core.history.store import Observation
from core.log.base import EventLog, OutgoingMessage
from core.results.base import BatchResult, Overtaken
from core.results.topic import TopicSink
from core.settings import Settings, load
from tests.repositories import FILES, commit
from tests.servers.kafka import GROUP, Broker


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"home": tmp_path / "home", "agent.workers": 1}, environ={}).settings


async def ingest(settings: Settings, root: Path) -> None:
    async with ingestion(settings, Target(root, project_name="shop")) as job:
        await job.publisher.publish(job.planner.stream())


async def drain(settings: Settings) -> None:
    async with consuming(settings, service=False) as agent:
        await agent.run(drain=True, stop=asyncio.Event())


async def joined(settings: Settings) -> list[Observation]:
    async with open_history(settings) as history:
        return await history.joined()


async def test_a_run_on_this_machine_leaves_whole_observations(settings: Settings, tmp_path: Path) -> None:
    root = commit(tmp_path / "shop", {**FILES, "large.py": b"x = 1\n" * 30_000})
    await ingest(settings, root)
    await drain(settings)
    rows = await joined(settings)
    assert len(rows) == 8
    large = next(row for row in rows if row.strategy == "object_storage")
    assert (large.size, large.extension, large.outcome, large.origin) == (180_000, "py", "ok", "work_tree")
    assert large.feasible == "object_storage"
    assert large.pack_s > 0
    assert large.resolve_s is not None
    inline = [row for row in rows if row.strategy == "inline"]
    assert all(row.feasible == "inline,object_storage" and row.encoded_bytes > row.size for row in inline)


async def test_the_history_holds_no_path_and_no_content(settings: Settings, tmp_path: Path) -> None:
    await ingest(settings, commit(tmp_path / "shop", {"secretive/plan_of_action.py": b"very_telling = 1\n"}))
    await drain(settings)
    stored = b"".join(path.read_bytes() for path in settings.data_dir.glob("history.sqlite*"))
    assert b"shop" in stored
    for word in (b"secretive", b"plan_of_action", b"very_telling", str(tmp_path).encode()):
        assert word not in stored


async def test_it_can_be_turned_off(tmp_path: Path) -> None:
    flags = {"home": tmp_path / "home", "agent.workers": 1, "history.enabled": False}
    settings = load(flags, environ={}).settings
    await ingest(settings, commit(tmp_path / "shop"))
    await drain(settings)
    assert not (settings.data_dir / "history.sqlite").exists()


async def test_halves_on_the_results_topic_are_taken_over_once(settings: Settings, tmp_path: Path) -> None:
    """As on Kafka: what an agent elsewhere published joins what was published from here."""
    await ingest(settings, commit(tmp_path / "shop"))
    async with open_log(settings) as log, open_history(settings) as history:
        await _results_elsewhere(settings, log, tmp_path)
        assert await observing.sync(log, history) == len(FILES)
        assert await observing.sync(log, history) == 0
        rows = await history.joined()
    assert len(rows) == len(FILES)
    assert all(row.resolve_s == 0.125 and row.wire_bytes == 7 for row in rows)


async def _results_elsewhere(settings: Settings, log: EventLog, tmp_path: Path) -> None:
    """Process the requests with an agent whose only sink is the results topic."""
    sent: list[BatchResult] = []

    class Capturing(TopicSink):
        async def write(self, result: BatchResult) -> Overtaken:
            delivery = Delivery(seconds=0.125, wire_bytes=7)
            records = [
                FileRecord(record.identity.model_copy(update={"delivery": delivery}), record.analysis)
                for record in result.records
            ]
            sent.append(result)
            return await super().write(BatchResult(result.request, records, result.deleted))

    elsewhere = load(
        {"home": settings.home, "agent.workers": 1, "history.enabled": False}, environ={}
    ).settings
    async with consuming(elsewhere, service=False) as agent:
        agent._consumer._processor._sinks = [Capturing(log, event_source())]
        await agent.run(drain=True, stop=asyncio.Event())
    assert sent
    assert all(record.identity.delivery for result in sent for record in result.records)
    assert sent[0].request.timestamp <= datetime.now(UTC)


@pytest.mark.xdist_group(GROUP)
async def test_over_kafka_what_an_agent_elsewhere_did_joins_what_was_published_here(
    kafka: Broker, tmp_path: Path
) -> None:
    shared = {
        "kafka.servers": kafka.servers,
        "kafka.create_topics": True,
        "kafka.reach_timeout": "20s",
        "log.group": f"history-{uuid4().hex[:8]}",
        "agent.workers": 1,
    }
    here = load({"home": tmp_path / "here", **shared}, environ={}).settings
    there = load({"home": tmp_path / "there", **shared}, environ={}).settings
    root = commit(tmp_path / "shop")
    for published in (len(FILES), 2 * len(FILES)):
        async with ingestion(here, Target(root, project_name="shop", force_reindex=True)) as job:
            await job.publisher.publish(job.planner.stream())
        await drain(there)
        async with open_log(here) as log, open_history(here) as history:
            assert await observing.sync(log, history) >= len(FILES)
            assert await observing.sync(log, history) == 0
            rows = await history.joined()
        assert len(rows) == published
    assert {row.backend.partition(":")[0] for row in rows} == {"kafka"}
    assert all(row.resolve_s is not None and row.attempts == 1 and row.source == "inline" for row in rows)
    assert not (there.data_dir / "history.sqlite").exists()


async def test_what_strangers_write_to_the_results_topic_is_bounded_or_left_out(
    settings: Settings,
) -> None:
    good = {
        "path": "a.py",
        "content_source": "inline",
        "correlation_id": "job",
        "delivery": {"seconds": 0.5, "wire_bytes": 7},
    }
    deliveries = [
        good,
        good | {"correlation_id": "j" * 65},
        good | {"content_source": "/home/somebody/secret"},
        good | {"delivery": {"seconds": -1}},
        good | {"delivery": {"seconds": 0.5, "wire_bytes": 2**70}},
        {**good, "delivery": None},
        "no record",
    ]
    failures = [{"path": "b.py", "reason": "content_missing"}, {"path": "c.py", "reason": "at /home/x"}]
    async with open_log(settings) as log, open_history(settings) as history:
        values = [b"no JSON", None, *(json.dumps({"payload": each}).encode() for each in deliveries)]
        values.append(b'{"payload": ' + json.dumps(good).replace("0.5", "Infinity").encode() + b"}")
        await log.publish(FILE_INTELLIGENCE, [OutgoingMessage(b"k", value) for value in values])
        failed = [{"correlation_id": "job", "payload": {"failures": [each]}} for each in failures]
        await log.publish(FAILED, [OutgoingMessage(b"k", json.dumps(each).encode()) for each in failed])
        assert await observing.sync(log, history) == 2
        assert (await history.totals()).waiting == 2
    stored = b"".join(path.read_bytes() for path in settings.data_dir.glob("history.sqlite*"))
    assert b"/home" not in stored


async def test_failures_are_taken_over_too(settings: Settings, tmp_path: Path) -> None:
    await ingest(settings, commit(tmp_path / "shop", {"large.py": b"x = 1\n" * 30_000}))
    for stored in settings.objects_dir.rglob("*.py"):
        stored.unlink()
    await drain(settings)
    async with open_log(settings) as log, open_history(settings) as history:
        assert [row.outcome for row in await history.joined()] == ["content_missing"]
        assert await observing.sync(log, history) == 1
        assert [row.outcome for row in await history.joined()] == ["content_missing"]
