"""Events made by an enemy: each ends as results, skips or one dead letter, and holds nothing up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.assembly.consuming import consuming
from core.assembly.stores import open_index, open_log
from core.consumer import RunSummary
from core.dead_letters import DeadLetters
from core.errors import AnalysisFailed
from core.events import topics
from core.events.codec import decode_request
from core.events.common import Source
from core.events.intelligence import FileIdentity
from core.events.record import Analysis, FileRecord
from core.intelligence.base import FileToAnalyze
from core.intelligence.pool import AnalyzerPool
from core.intelligence.worker import analyze_to_json
from core.letter import DeadLetter
from core.log.base import OutgoingMessage, Position
from core.log.embedded import EmbeddedLog
from core.results.base import BatchResult
from core.results.topic import TopicSink
from core.settings import Settings, load
from tests.requests import request_for, sha256

LARGEST = 6 << 20


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    flags = {"home": tmp_path / "home", "agent.workers": 1, "agent.local_roots": [str(tmp_path)]}
    return load(flags, environ={}).settings


def event(topic: str, files: Sequence[dict[str, Any]], **payload: Any) -> dict[str, Any]:
    version = {"version": "1.0.0"} if topic == topics.REQUESTED_V1 else {"schema_version": "2.0.0"}
    metadata = {"batch_id": 1, "batch_size": len(files), "content_strategy": "inline"}
    return {
        **version,
        "event_id": "e",
        "event_type": topic,
        "correlation_id": "c",
        "timestamp": "2026-01-05T00:00:00Z",
        "source": {"service": "s", "instance_id": "i"},
        "metadata": metadata,
        "payload": {"project_name": "shop", "files": files, **payload},
    }


def inline(path: str, content: str, **fields: Any) -> dict[str, Any]:
    carried = {"content": content, "content_encoding": "utf-8", "checksum": sha256(content.encode())}
    return {"relative_path": path, "content_strategy": "inline", **carried, **fields}


async def send(settings: Settings, topic: str, value: object) -> None:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    async with open_log(settings) as log:
        (answer,) = await log.publish(topic, [OutgoingMessage(b"k", raw)])
        assert isinstance(answer, Position)


async def drain(settings: Settings) -> tuple[RunSummary, list[DeadLetter]]:
    async with consuming(settings, service=False) as agent:
        summary = await agent.run(drain=True, stop=asyncio.Event())
    async with open_log(settings) as log:
        return summary, [
            letter async for letter in DeadLetters(log, settings.log.group, settings.log.topics).list()
        ]


async def test_the_letter_of_a_part_is_no_longer_than_the_event(settings: Settings) -> None:
    wide = "\u4e2d" * 900_000
    files = [
        inline("good.py", "x = 1\n"),
        inline("bad.txt", wide, checksum=sha256(b"")),
        inline("a\udce9", ""),
    ]
    text = json.dumps(event(topics.REQUESTED_V2, files), ensure_ascii=False)
    value = text.encode("utf-8", "backslashreplace")
    await send(settings, topics.REQUESTED_V2, value)
    summary, (letter,) = await drain(settings)
    assert (summary.files_processed, summary.files_failed) == (2, 1)
    assert len(letter.message.value or b"") < len(value)
    (file,) = decode_request(letter.message.value).files
    assert file.content == wide


async def test_poison_as_large_as_the_log_accepts_is_dead_lettered(settings: Settings) -> None:
    await send(settings, topics.REQUESTED_V2, b"x" * (LARGEST - 1))
    summary, (letter,) = await drain(settings)
    assert (summary.dead_lettered, len(letter.message.value or b"")) == (1, LARGEST - 1)


async def test_more_failures_than_an_event_can_tell_are_counted(settings: Settings) -> None:
    files = [{"relative_path": str(number), "file_path": f"/x/{number}"} for number in range(20_000)]
    await send(settings, topics.REQUESTED_V1, event(topics.REQUESTED_V1, files, project_path="/x"))
    summary, _ = await drain(settings)
    assert summary.files_failed == len(files)
    async with open_log(settings) as log:
        (told,) = [message async for message in log.browse(topics.FAILED)]
    assert len(told.value or b"") < 300_000
    payload = json.loads(told.value or b"")["payload"]
    assert payload["files_failed"] == len(files)
    assert [failure["path"] for failure in payload["failures"][:2]] == ["0", "1"]


@pytest.mark.parametrize("suffix", ["/a\0b", "/a\ud800"])
async def test_a_project_path_that_is_no_path_fails_its_files(
    settings: Settings, tmp_path: Path, suffix: str
) -> None:
    files = [{"relative_path": "a.py"}, {"relative_path": "b.py", "content": "x = 1\n"}]
    sent = event(topics.REQUESTED_V1, files, project_path=f"{tmp_path}{suffix}")
    await send(settings, topics.REQUESTED_V1, sent)
    summary, (letter,) = await drain(settings)
    assert (summary.files_processed, summary.files_failed) == (1, 1)
    assert letter.info is not None
    assert letter.info.reason == "unsafe_input"


async def test_a_name_that_is_no_path_fails_alone(settings: Settings) -> None:
    files = [inline("../b\ud800", "x"), inline("\ud800", "x"), inline("a\udce9.py", "x = 1\n")]
    await send(settings, topics.REQUESTED_V2, event(topics.REQUESTED_V2, files))
    summary, (letter,) = await drain(settings)
    assert (summary.files_processed, summary.files_failed) == (1, 2)
    assert letter.info is not None
    assert letter.info.reason == "unsafe_input"


async def test_a_key_that_no_other_event_has_room_for_holds_nothing_up(settings: Settings) -> None:
    value = json.dumps(event(topics.REQUESTED_V2, [inline("a.py", "x = 1\n")])).encode()
    key = b"k" * (LARGEST - len(value) - 1)
    async with open_log(settings) as log:
        await log.publish(topics.REQUESTED_V2, [OutgoingMessage(key, value)])
    summary, letters = await drain(settings)
    assert (summary.files_processed, letters) == (1, [])
    async with open_log(settings) as log:
        (told,) = [message async for message in log.browse(topics.COMPLETED)]
    assert told.key is None


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_path_that_no_record_has_room_for_is_poison(settings: Settings, deleted: bool) -> None:
    path = "a" * 300_000
    files = [] if deleted else [inline(path, "x = 1\n")]
    sent = event(topics.REQUESTED_V2, files, **({"deleted_files": [path]} if deleted else {}))
    await send(settings, topics.REQUESTED_V2, sent)
    summary, (letter,) = await drain(settings)
    assert (summary.files_processed, summary.files_deleted) == (0, 0)
    assert letter.info is not None
    assert "a path has 300,000 characters" in letter.info.message


@pytest.mark.parametrize("name", ["event_id", "correlation_id"])
async def test_an_id_that_no_other_event_has_room_for_is_poison(settings: Settings, name: str) -> None:
    sent = event(topics.REQUESTED_V2, [inline("a.py", "x = 1\n")]) | {name: "x" * (LARGEST - 2_000)}
    await send(settings, topics.REQUESTED_V2, sent)
    summary, (letter,) = await drain(settings)
    assert (summary.dead_lettered, summary.files_processed) == (1, 0)
    assert letter.info is not None
    assert letter.info.message.startswith(f"{name} has 6,289,456 characters")


async def test_a_word_too_long_for_a_language_is_none(settings: Settings) -> None:
    sent = event(topics.REQUESTED_V2, [inline("a.py", "x = 1\n", language="x" * 2_000_000)])
    await send(settings, topics.REQUESTED_V2, sent)
    summary, _ = await drain(settings)
    assert summary.files_processed == 1
    async with open_index(settings) as index:
        assert [file.language async for file in index.query()] == ["python"]


async def test_a_fault_of_our_own_costs_its_files_and_not_the_agent(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Defective(AnalyzerPool):
        async def analyze_many(self, files: Sequence[FileToAnalyze]) -> list[Analysis | AnalysisFailed]:
            raise ZeroDivisionError

    monkeypatch.setattr("core.assembly.consuming.AnalyzerPool", Defective)
    await send(settings, topics.REQUESTED_V2, event(topics.REQUESTED_V2, [inline("a.py", "x = 1\n")]))
    summary, (letter,) = await drain(settings)
    assert (summary.files_failed, summary.dead_lettered) == (1, 1)
    assert letter.info is not None
    assert (letter.info.reason, letter.info.message) == (
        "unexpected",
        "ZeroDivisionError; see the agent's log",
    )
    assert "ZeroDivisionError" in caplog.text


def record(path: str, content: str) -> FileRecord:
    identity = FileIdentity(
        project="shop",
        path=path,
        checksum=sha256(content.encode()),
        checksum_verified=True,
        size_bytes=len(content),
        content_source="inline",
        generated_at=datetime(2026, 1, 5, tzinfo=UTC),
    )
    return FileRecord(identity, analyze_to_json(FileToAnalyze(path, content.encode(), "python"), 20.0))


async def test_a_record_too_large_for_the_results_topic_goes_without_its_lists(tmp_path: Path) -> None:
    owner = "C" + "x" * 150
    source = f"class {owner}:\n" + "".join(f"    def m{n}(self): pass\n" for n in range(300))
    result = BatchResult(
        request_for(), [record("large.py", source), record("small.py", "x = 1\n")], ("gone",)
    )
    async with EmbeddedLog(tmp_path / "log.sqlite", max_message_bytes=20_000) as log:
        await TopicSink(log, Source(service="s", instance_id="i")).write(result)
        sent = [message async for message in log.browse(topics.FILE_INTELLIGENCE)]
    told = [json.loads(message.value)["payload"] for message in sent if message.value]
    assert len(sent) - len(told) == 1
    analyses = {each["path"]: each["analysis"] for each in told}
    assert analyses["small.py"]["truncated"] == []
    assert analyses["large.py"]["symbols"] == []
    assert analyses["large.py"]["truncated"][0] == "symbols: 0 of 301, too large for the results topic"
    assert analyses["large.py"]["scores"]["quality"]["value"] is not None
