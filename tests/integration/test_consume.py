"""From the log to records: the whole straight line with real adapters, and its faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.assembly.consuming import consuming
from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.assembly.stores import open_index, open_log
from core.consumer import RunSummary
from core.dead_letters import DeadLetters
from core.errors import AccessDenied, BackendUnavailable, UsageError
from core.events import topics
from core.events.codec import decode_request
from core.letter import DeadLetter
from core.log.base import LogMessage, OutgoingMessage, Position, PublishFailure, TopicPartition
from core.log.embedded import EmbeddedLog
from core.log.embedded.consumer import EmbeddedConsumer
from core.progress import BatchFinished, DeadLettered, FileAnalyzed, FileResolved, RunEvent
from core.settings import Settings, load
from tests.repositories import FILES, commit, git, write

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    flags = {
        "home": tmp_path / "home",
        "agent.workers": 1,
        "agent.local_roots": str(tmp_path),
        "log.partitions": 1,
    }
    return load(flags, environ={}).settings


async def ingest(settings: Settings, path: Path, **options: Any) -> None:
    async with ingestion(settings, Target(path, project_name="shop", **options)) as job:
        await job.publisher.publish(job.planner.stream())


async def drain(settings: Settings, *, events: list[RunEvent] | None = None) -> RunSummary:
    listener = events.append if events is not None else lambda _event: None
    async with consuming(settings, listener=listener, service=False) as consumer:
        return await consumer.run(drain=True, stop=asyncio.Event())


async def records(settings: Settings) -> dict[str, dict[str, Any]]:
    async with open_index(settings) as index:
        return {record.file.path: record.to_json() async for record in index.records()}


async def letters(settings: Settings) -> list[DeadLetter]:
    async with open_log(settings) as log:
        return [letter async for letter in DeadLetters(log, settings.log.group, settings.log.topics).list()]


async def messages(settings: Settings, topic: str) -> list[LogMessage]:
    async with open_log(settings) as log:
        return [message async for message in log.browse(topic)]


async def send(settings: Settings, topic: str, value: bytes | None, **fields: Any) -> None:
    async with open_log(settings) as log:
        (answer,) = await log.publish(topic, [OutgoingMessage(b"key", value, **fields)])
        assert isinstance(answer, Position)


async def test_every_file_has_a_record(settings: Settings, tmp_path: Path) -> None:
    await ingest(settings, commit(tmp_path / "shop"))
    events: list[RunEvent] = []
    summary = await drain(settings, events=events)
    assert summary.to_json() | {"duration_ms": 0} == {
        "events": 1,
        "files_processed": 7,
        "files_failed": 0,
        "files_skipped": 0,
        "files_deleted": 0,
        "dead_lettered": 0,
        "by_source": {"inline": 7},
        "fallbacks": {},
        "files_superseded": 0,
        "deletions_superseded": 0,
        "abandoned": 0,
        "duration_ms": 0,
    }
    found = await records(settings)
    assert found.keys() == FILES.keys()
    util = found["pkg/util.py"]
    assert (util["language"], util["checksum_verified"], util["content_source"]) == ("python", True, "inline")
    assert [(symbol["name"], symbol["complexity"]) for symbol in util["symbols"]] == [("helper", 2)]
    assert found["pkg/__init__.py"]["lines"]["total"] == 0
    assert found["data/dot.bin"]["lines"] is None
    assert {event.path for event in events if isinstance(event, FileResolved)} == FILES.keys()
    assert {event.path for event in events if isinstance(event, FileAnalyzed)} == FILES.keys()
    assert sum(isinstance(event, BatchFinished) for event in events) == 1


async def test_draining_again_does_nothing(settings: Settings, tmp_path: Path) -> None:
    await ingest(settings, commit(tmp_path / "shop"))
    await drain(settings)
    assert (await drain(settings)).events == 0


async def test_changes_and_deletions_arrive(settings: Settings, tmp_path: Path) -> None:
    root = commit(tmp_path / "shop")
    await ingest(settings, root)
    await drain(settings)
    write(root, {"app.py": b"def other():\n    pass\n"})
    git(root, "rm", "-q", "pkg/util.py")
    await ingest(settings, root)
    summary = await drain(settings)
    assert (summary.files_processed, summary.files_deleted) == (1, 1)
    found = await records(settings)
    assert found.keys() == FILES.keys() - {"pkg/util.py"}
    assert [symbol["name"] for symbol in found["app.py"]["symbols"]] == ["other"]


async def test_a_batch_delivered_twice_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    await ingest(settings, commit(tmp_path / "shop"))
    await drain(settings)
    before = await records(settings)
    (message,) = await messages(settings, topics.REQUESTED_V2)
    await send(settings, topics.REQUESTED_V2, message.value)
    await drain(settings)
    assert await records(settings) == before


async def test_outcome_is_published_with_counts(settings: Settings, tmp_path: Path) -> None:
    await ingest(settings, commit(tmp_path / "shop"))
    await drain(settings)
    (message,) = await messages(settings, topics.COMPLETED)
    event = json.loads(message.value or b"")
    (request,) = await messages(settings, topics.REQUESTED_V2)
    assert event["causation_id"] == decode_request(request.value).event_id
    payload = event["payload"]
    assert (payload["files_discovered"], payload["files_indexed"], payload["files_failed"]) == (7, 7, 0)
    assert payload["by_source"] == {"inline": 7}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff\x00poison", "invalid_event"),
        (None, "invalid_event"),
        (b'{"schema_version": "9.0.0"}', "unknown_schema_version"),
    ],
)
async def test_poison_is_dead_lettered_byte_for_byte_and_the_partition_advances(
    settings: Settings, tmp_path: Path, value: bytes | None, reason: str
) -> None:
    await send(settings, topics.REQUESTED_V2, value, headers=(("a", b"1"), ("a", b"\xff")), partition=0)
    await ingest(settings, commit(tmp_path / "shop"))
    summary = await drain(settings)
    assert (summary.dead_lettered, summary.files_processed) == (1, 7)
    (letter,) = await letters(settings)
    assert (letter.message.key, letter.message.value) == (b"key", value)
    assert letter.message.headers[:2] == (("a", b"1"), ("a", b"\xff"))
    assert letter.info is not None
    assert (letter.info.reason, letter.info.stage, letter.info.topic) == (
        reason,
        "decode",
        topics.REQUESTED_V2,
    )
    assert (letter.info.partition, letter.info.offset, letter.info.group) == (0, 0, settings.log.group)


def tampered(value: bytes, path: str) -> bytes:
    event = json.loads(value)
    for file in event["payload"]["files"]:
        if file["relative_path"] == path:
            file["content"] += "tampered"
    return json.dumps(event).encode()


async def test_a_failed_file_is_dead_lettered_alone_and_the_rest_counts(
    settings: Settings, tmp_path: Path
) -> None:
    await ingest(settings, commit(tmp_path / "shop"))
    (message,) = await messages(settings, topics.REQUESTED_V2)
    await send(settings, topics.REQUESTED_V2, tampered(message.value or b"", "app.py"))
    events: list[RunEvent] = []
    summary = await drain(settings, events=events)
    assert (summary.files_processed, summary.files_failed, summary.dead_lettered) == (13, 1, 1)
    (letter,) = await letters(settings)
    assert letter.info is not None
    assert (letter.info.reason, letter.info.stage) == ("checksum_mismatch", "resolve")
    assert [file.relative_path for file in decode_request(letter.message.value).files] == ["app.py"]
    assert [event.reason for event in events if isinstance(event, DeadLettered)] == ["checksum_mismatch"]


async def test_a_batch_that_yields_nothing_is_told_as_failed(settings: Settings) -> None:
    await send(settings, topics.REQUESTED_V1, (SAMPLES / "v1-paths.json").read_bytes())
    summary = await drain(settings)
    assert (summary.files_failed, summary.dead_lettered) == (2, 1)
    (message,) = await messages(settings, topics.FAILED)
    payload = json.loads(message.value or b"")["payload"]
    assert (payload["error_code"], payload["files_failed"]) == ("content_missing", 2)
    assert [failure["path"] for failure in payload["failures"]] == ["a.py", "pkg/__init__.py"]


async def test_v1_content_and_paths_are_processed(settings: Settings, tmp_path: Path) -> None:
    event = json.loads((SAMPLES / "v1-with-content.json").read_bytes())
    write(tmp_path, {"big.json": b"{}\n"})
    event["payload"]["project_path"] = str(tmp_path)
    event["payload"]["files"][1]["file_path"] = str(tmp_path / "big.json")
    await send(settings, topics.REQUESTED_V1, json.dumps(event).encode())
    summary = await drain(settings)
    assert summary.by_source == {"inline": 1, "local_path": 1}
    found = await records(settings)
    assert (found["a.py"]["language"], found["a.py"]["checksum_verified"]) == ("python", False)


async def test_tests_of_a_request_that_excludes_them_are_skipped(settings: Settings, tmp_path: Path) -> None:
    await ingest(settings, commit(tmp_path / "shop"))
    (message,) = await messages(settings, topics.REQUESTED_V2)
    event = json.loads(message.value or b"")
    event["payload"]["include_tests"] = False
    other = settings.model_copy(update={"home": tmp_path / "other"})
    await send(other, topics.REQUESTED_V2, json.dumps(event).encode())
    summary = await drain(other)
    assert (summary.files_processed, summary.files_skipped) == (6, 1)


class TestRedrive:
    """A letter goes back once, with its provenance, and is then gone from the list."""

    async def test_it_goes_back_and_is_processed(self, settings: Settings, tmp_path: Path) -> None:
        event = json.loads((SAMPLES / "v1-paths.json").read_bytes())
        event["payload"]["project_path"] = str(tmp_path)
        for file in event["payload"]["files"]:
            file["file_path"] = str(tmp_path / file["relative_path"])
        await send(settings, topics.REQUESTED_V1, json.dumps(event).encode(), headers=(("mine", b"1"),))
        await drain(settings)
        (letter,) = await letters(settings)
        write(tmp_path, {"a.py": b"print('hi')\n", "pkg/__init__.py": b""})
        async with open_log(settings) as log:
            await DeadLetters(log, settings.log.group, settings.log.topics).redrive(letter)
        assert (await drain(settings)).files_processed == 2
        assert await letters(settings) == []
        first, again = await messages(settings, topics.REQUESTED_V1)
        assert (again.key, again.value) == (first.key, first.value)
        names = [name for name, _ in again.headers]
        assert names[0] == "mine"
        assert not [name for name in names if name.startswith("__archon.errors.")]
        assert dict(again.headers)["__archon.redrive.letter"] == letter.id.encode()

    async def test_it_cannot_go_twice(self, settings: Settings) -> None:
        await send(settings, topics.REQUESTED_V2, b"poison")
        await drain(settings)
        (letter,) = await letters(settings)
        async with open_log(settings) as log:
            dead_letters = DeadLetters(log, settings.log.group, settings.log.topics)
            assert await dead_letters.find(letter.id) == letter
            await dead_letters.redrive(letter)
            with pytest.raises(UsageError, match="redriven already"):
                await dead_letters.redrive(letter)

    @pytest.mark.parametrize(
        "letter_id", ["x", "t/0", "t/0/x", "no-topic/0/0", f"{topics.REQUESTED_V2}.dlq/0/99"]
    )
    async def test_an_unknown_id_is_a_usage_error(self, settings: Settings, letter_id: str) -> None:
        await send(settings, topics.REQUESTED_V2, b"poison")
        await drain(settings)
        async with open_log(settings) as log:
            with pytest.raises(UsageError, match=r"not a letter's id|no dead letter"):
                await DeadLetters(log, "g", settings.log.topics).find(letter_id)


class Faulty(EmbeddedLog):
    """A real log that refuses to write some topics."""

    refused: frozenset[str] = frozenset()

    async def publish(
        self, topic: str, messages: Sequence[OutgoingMessage]
    ) -> Sequence[Position | PublishFailure]:
        if topic in self.refused:
            raise BackendUnavailable(f"{topic} refused")
        return await super().publish(topic, messages)


async def test_without_a_dead_letter_topic_nothing_is_committed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Chosen(Faulty):
        pass

    async def no_wait(_attempt: int) -> None: ...

    monkeypatch.setattr("core.assembly.stores.EmbeddedLog", Chosen)
    monkeypatch.setattr("core.durable_steps.backoff", no_wait)
    await send(settings, topics.REQUESTED_V2, b"poison")
    Chosen.refused = frozenset({topics.dead_letter_topic(topics.REQUESTED_V2)})
    with pytest.raises(BackendUnavailable, match="refused"):
        await drain(settings)
    Chosen.refused = frozenset()
    assert (await drain(settings)).dead_lettered == 1
    assert len(await letters(settings)) == 1


async def test_a_paused_agent_takes_nothing_until_it_goes_on(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ingest(settings, commit(tmp_path / "shop"))
    held = asyncio.Event()
    poll = EmbeddedConsumer.poll

    async def tell(self: EmbeddedConsumer, messages: int, timeout_s: float) -> Sequence[LogMessage]:
        if messages == 0:
            held.set()
        return await poll(self, messages, timeout_s)

    monkeypatch.setattr(EmbeddedConsumer, "poll", tell)
    events: list[RunEvent] = []
    async with consuming(settings, listener=events.append, service=False) as agent:
        agent.pause(True)
        running = asyncio.create_task(agent.run(drain=True, stop=asyncio.Event()))
        await held.wait()
        assert not events
        assert not running.done()
        agent.pause(False)
        summary = await running
    assert summary.files_processed == len(FILES)


async def test_offsets_that_may_not_be_committed_end_the_run(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(_self: EmbeddedConsumer, _offsets: Mapping[TopicPartition, int]) -> None:
        raise AccessDenied("the group is not ours")

    await ingest(settings, commit(tmp_path / "shop"))
    with monkeypatch.context() as context:
        context.setattr(EmbeddedConsumer, "commit", refused)
        async with asyncio.timeout(60) as patience:
            with pytest.raises(AccessDenied, match="not ours"):
                await drain(settings)
    assert not patience.expired()
    assert (await drain(settings)).events == 1


async def test_a_stop_whose_last_commit_fails_is_clean_and_the_events_come_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = asyncio.Event()

    async def unreachable(_self: EmbeddedConsumer, _offsets: Mapping[TopicPartition, int]) -> None:
        stop.set()
        raise BackendUnavailable("the broker is away")

    await ingest(settings, commit(tmp_path / "shop"))
    with monkeypatch.context() as context:
        context.setattr(EmbeddedConsumer, "commit", unreachable)
        async with consuming(settings, service=False) as agent:
            summary = await agent.run(drain=False, stop=stop)
    assert (summary.events, summary.files_processed) == (1, len(FILES))
    assert (await drain(settings)).events == 1


async def test_a_clock_that_went_back_does_not_hide_what_changed_since(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = commit(tmp_path / "shop")
    with monkeypatch.context() as context:
        context.setattr("core.publisher.utc_now", lambda: datetime.now(UTC) + timedelta(hours=3))
        await ingest(settings, root)
    write(root, {"app.py": b"def other():\n    pass\n"})
    await ingest(settings, root)
    git(root, "rm", "-q", "pkg/util.py")
    await ingest(settings, root)
    assert (await drain(settings)).files_processed == len(FILES) + 1
    found = await records(settings)
    assert found.keys() == FILES.keys() - {"pkg/util.py"}
    assert [symbol["name"] for symbol in found["app.py"]["symbols"]] == ["other"]
