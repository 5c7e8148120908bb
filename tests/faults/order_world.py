"""A publisher, a consumer that crashes, and an operator who redrives, at work on the paths of a project."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from core.batches import request_key
from core.dead_letters import DeadLetters
from core.errors import AnalysisFailed
from core.events.codec import to_json
from core.events.common import Source
from core.events.record import Analysis
from core.events.topics import FILE_INTELLIGENCE, REQUESTED_V2
from core.fetchers.inline import InlineFetcher
from core.fetchers.resolver import Resolver
from core.intelligence.base import FileToAnalyze
from core.intelligence.worker import analyze_to_json
from core.letter import DeadLetter
from core.log.base import EventLog, LogMessage, OutgoingMessage, Position
from core.processor import RequestProcessor
from core.results.index import ResultsIndex
from core.results.topic import TopicSink, record_key
from tests.requests import sha256

SOURCE = Source(service="test", instance_id="test")


class Analyzer:
    """The real analysis, except that it fails for `broken` paths until they are mended."""

    def __init__(self) -> None:
        self.broken: set[str] = set()

    async def analyze_many(self, files: Sequence[FileToAnalyze]) -> Sequence[Analysis | AnalysisFailed]:
        await asyncio.sleep(0)
        return [
            AnalysisFailed("broken") if file.path in self.broken else analyze_to_json(file, 60.0)
            for file in files
        ]


class World:
    """What happens, and `newest`: the content that must stand for each path in the end, None if deleted."""

    def __init__(self, log: EventLog, index: ResultsIndex) -> None:
        self.log = log
        self.index = index
        self.project = f"project-{uuid4().hex}"
        self.topic = f"requests-{uuid4().hex}"
        self.analyzer = Analyzer()
        self.letters = DeadLetters(log, self.project, [self.topic])
        self.processor = RequestProcessor(
            log,
            Resolver([InlineFetcher()]),
            self.analyzer,
            [TopicSink(log, SOURCE), index],
            self.letters,
            SOURCE,
            attempts=1,
        )
        self.newest: dict[str, str | None] = {}
        self._next: dict[int, int] = {}
        self._versions = 0

    async def publish(self, path: str, *, deleted: bool = False, clock_ahead_s: float = 0) -> Position:
        """A request for one path, by a publisher whose clock is ahead."""
        self._versions += 1
        content = f"version = {self._versions}\n"
        event = request_event(self.project, path, None if deleted else content, clock_ahead_s=clock_ahead_s)
        (position,) = await self.log.publish(
            self.topic, [OutgoingMessage(request_key(self.project, path), event)]
        )
        assert isinstance(position, Position)
        self.newest[path] = None if deleted else sha256(content.encode())
        return position

    async def process(self, count: int) -> int:
        """Process the next messages side by side; how many there were."""
        waiting = [message async for message in self.log.browse(self.topic, starts=self._next)]
        taken = [each for each in waiting if each.offset >= self._next.get(each.partition, 0)][:count]
        for message in taken:
            self._next[message.partition] = message.offset + 1
        await asyncio.gather(*map(self._process, taken))
        return len(taken)

    async def _process(self, message: LogMessage) -> None:
        await self.processor.process(message)

    def crash(self, lost: int) -> None:
        """The last commits did not arrive: `lost` messages of every partition are delivered again."""
        self._next = {partition: max(0, offset - lost) for partition, offset in self._next.items()}

    async def redrive(self) -> None:
        """Send all letters again."""
        letters = [letter async for letter in self.letters.list()] if await self._has_letters() else []

        async def chosen() -> AsyncIterator[DeadLetter]:
            for letter in letters:
                yield letter

        async for _ in self.letters.redrive_all(chosen()):
            pass

    async def settle(self) -> None:
        """Mend everything, redrive everything, process everything."""
        self.analyzer.broken.clear()
        while True:
            while await self.process(100):
                pass
            if not [letter async for letter in self.letters.list()]:
                return
            await self.redrive()

    async def in_topic(self) -> dict[str, str | None]:
        """The checksum that the compacted results topic ends on, by path."""
        keys = {record_key(self.project, path): path for path in self.newest}
        found: dict[str, str | None] = {}
        async for message in self.log.browse(FILE_INTELLIGENCE):
            if message.key in keys:
                found[keys[message.key]] = _checksum(message.value)
        return found

    async def in_index(self) -> dict[str, str | None]:
        """The checksum in the index, by path."""
        stored = {file.path: file.checksum async for file in self.index.query(project=self.project)}
        return {path: stored.get(path) for path in self.newest}

    async def _has_letters(self) -> bool:
        return f"{self.topic}.dlq" in await self.log.topics()


def request_event(project: str, path: str, content: str | None, *, clock_ahead_s: float = 0) -> bytes:
    """A v2 request for one path: its content inline, or its deletion where `content` is None."""
    now = datetime.now(UTC) + timedelta(seconds=clock_ahead_s)
    files = []
    if content is not None:
        raw = content.encode()
        files = [
            {
                "relative_path": path,
                "content_strategy": "inline",
                "content": content,
                "content_encoding": "utf-8",
                "size_bytes": len(raw),
                "checksum": sha256(raw),
            }
        ]
    return to_json(
        {
            "schema_version": "2.0.0",
            "event_id": uuid4().hex,
            "event_type": REQUESTED_V2,
            "correlation_id": "c",
            "timestamp": now.isoformat(),
            "source": SOURCE.model_dump(),
            "metadata": {
                "batch_id": 1,
                "batch_size": len(files),
                "content_strategy": "inline",
                "total_content_size_bytes": 0,
            },
            "payload": {
                "project_name": project,
                "content_strategy": "inline",
                "files": files,
                "deleted_files": [] if content is not None else [path],
            },
        }
    )


def _checksum(value: bytes | None) -> str | None:
    return None if value is None else str(json.loads(value)["payload"]["checksum"])
