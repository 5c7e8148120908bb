"""The oracle of fault tests: a process that publishes, and records only what the log acknowledged.

`python -m tests.faults.oracle SERVERS TOPIC PROJECT RECORD` publishes until it is told to stop (SIGTERM).
Every acknowledged file is a line of RECORD, on disk before the next event goes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from core.errors import ArchonError, InvalidEvent
from core.events.codec import decode_request, from_json, to_json
from core.events.common import ContentStrategy, Source
from core.events.topics import FILE_INTELLIGENCE, REQUESTED_V2, dead_letter_topic
from core.events.v2 import FileV2, MetadataV2, ModelEventIndexProjectRequestedV2, PayloadV2
from core.log.base import EventLog, OutgoingMessage, Position
from core.log.kafka import KafkaLog
from core.settings.kafka import KafkaSettings
from tests.subprocesses import child_process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FILES_PER_EVENT = 5
# One file of every event cannot pass: its checksum is wrong, so it must end as a dead letter.
BROKEN = "broken"
_EVERY_S = 0.05


def event(project: str, number: int) -> tuple[list[str], bytes]:
    """The paths and the bytes of event `number`."""
    names = [f"{number:06}/{index}.py" for index in range(FILES_PER_EVENT - 1)]
    names.append(f"{number:06}/{BROKEN}.py")
    files = []
    for name in names:
        content = f"def f_{number}():\n    return {name!r}\n"
        digest = sha256((content if BROKEN not in name else "something else").encode()).hexdigest()
        files.append(
            FileV2(
                relative_path=name,
                language="python",
                size_bytes=len(content),
                checksum=f"sha256:{digest}",
                content_strategy=ContentStrategy.INLINE,
                content=content,
                content_encoding="utf-8",
            )
        )
    value = to_json(
        ModelEventIndexProjectRequestedV2(
            event_id=str(uuid4()),
            event_type=REQUESTED_V2,
            correlation_id=str(uuid4()),
            timestamp=datetime.now(UTC),
            source=Source(service="oracle", instance_id="oracle"),
            metadata=MetadataV2(
                batch_id=number, batch_size=len(files), content_strategy=ContentStrategy.INLINE
            ),
            payload=PayloadV2(project_name=project, files=tuple(files)),
        ),
        exclude_none=True,
    )
    return names, value


async def publish(log: EventLog, topic: str, project: str, number: int) -> list[str]:
    """Publish event `number`; the files that the log acknowledged."""
    names, value = event(project, number)
    try:
        (answer,) = await log.publish(topic, [OutgoingMessage(f"{project}:{number}".encode(), value)])
    except ArchonError:
        return []
    return names if isinstance(answer, Position) else []


async def run(servers: str, topic: str, project: str, record: Path) -> None:
    """Publish and record until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = KafkaSettings(servers=servers, delivery_timeout="20s", reach_timeout="20s")
    with record.open("a") as file:
        async with KafkaLog(settings) as log:
            number = 0
            while not stop.is_set():
                for name in await publish(log, topic, project, number):
                    file.write(name + "\n")
                file.flush()
                os.fsync(file.fileno())
                number += 1
                await asyncio.sleep(_EVERY_S)


@dataclass
class Publishing:
    """A running oracle process."""

    record: Path
    process: asyncio.subprocess.Process

    @property
    def acknowledged(self) -> set[str]:
        """The files acknowledged so far."""
        return set(self.record.read_text().split()) if self.record.exists() else set()

    async def stop(self) -> set[str]:
        """End it; everything that was acknowledged."""
        if self.process.returncode is None:
            self.process.terminate()
        assert await self.process.wait() == 0
        return self.acknowledged

    async def reaches(self, files: int, timeout_s: float = 60) -> None:
        """Wait until so many files are acknowledged."""
        async with asyncio.timeout(timeout_s):
            while len(self.acknowledged) < files:
                assert self.process.returncode is None
                await asyncio.sleep(0.05)


@asynccontextmanager
async def publishing(servers: str, topic: str, project: str, record: Path) -> AsyncIterator[Publishing]:
    """An oracle process at work; it ends with the block."""
    command = (sys.executable, "-m", "tests.faults.oracle", servers, topic, project, str(record))
    async with child_process(*command) as process:
        yield Publishing(record, process)


@dataclass
class Verdict:
    """What became of the files of a project; a result counts once per identity."""

    results: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)

    def lost(self, acknowledged: set[str]) -> set[str]:
        """Acknowledged files that ended as nothing."""
        return acknowledged - self.results.keys() - self.dead.keys()

    @property
    def both(self) -> set[str]:
        """Files that ended as a result and as a dead letter."""
        return self.results.keys() & self.dead.keys()

    @property
    def duplicates(self) -> int:
        """Results and letters beyond the first of each file: what deduplication has to remove."""
        return sum((self.results + self.dead).values()) - len(self.results) - len(self.dead)


async def judge(log: EventLog, topic: str, project: str) -> Verdict:
    """Read the results topic and the dead letters of `topic`."""
    verdict = Verdict()
    async for message in log.browse(FILE_INTELLIGENCE):
        if message.value and (payload := from_json(message.value)["payload"])["project"] == project:
            verdict.results[payload["path"]] += 1
    async for message in log.browse(dead_letter_topic(topic)):
        try:
            request = decode_request(message.value)
        except InvalidEvent:
            continue  # poison names no project
        if request.project_name == project:
            verdict.dead.update(file.relative_path for file in request.files)
    return verdict


async def drained(log: EventLog, group: str, topic: str, timeout_s: float = 60) -> float:
    """Seconds until the group has no lag. Raises `TimeoutError`."""
    started = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                if all(place.lag == 0 for place in await log.lag(group, [topic])):
                    return time.monotonic() - started
            except ArchonError:
                pass  # the fault may have hit this too
            await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])))
