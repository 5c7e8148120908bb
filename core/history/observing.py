"""How the history of files is fed: by the publisher, by an agent of this machine, or from topics."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import posixpath
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Final

from pydantic import Field, ValidationError

from core.batches import PackedFile
from core.errors import AnalysisFailed, ArchonError
from core.events.codec import from_json
from core.events.common import AnyText, ContentStrategy, Wire
from core.events.request import Carrier
from core.events.topics import COMPLETED, FAILED, FILE_INTELLIGENCE
from core.history.flushing import Sleep, flushing
from core.history.store import ConsumedHalf, History, PublishedHalf, file_key
from core.log.base import EventLog, LogMessage
from core.progress import FileFailed, FileResolved, RunEvent

logger = logging.getLogger(__name__)

FLUSH_S = 1.0
EXTENSION_LIMIT = 16
# What comes by topic is anybody's: no longer than our own runs' ids, no larger than a column holds.
JOB_LIMIT: Final = 64
_PAGE: Final = 1000


def backend_label(kind: str, address: str) -> str:
    """A backend's kind and a digest of its address: told apart without being named."""
    return f"{kind}:{hashlib.blake2b(address.encode(), digest_size=4).hexdigest()}"


Job = Annotated[str, Field(max_length=JOB_LIMIT)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Delivery(Wire):
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    attempts: Count = 1
    wire_bytes: Count = 0
    cache_hit: bool | None = None


class _DeliveredFile(Wire):
    path: AnyText
    content_source: Carrier
    correlation_id: Job
    delivery: _Delivery


class _Delivered(Wire):
    """What a result event says of the way its file came."""

    payload: _DeliveredFile


class _Failure(Wire):
    path: AnyText
    reason: Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]


class _Failures(Wire):
    failures: tuple[_Failure, ...] = ()


class _Failed(Wire):
    """What an outcome event says of the files that did not come."""

    correlation_id: Job
    payload: _Failures


class PublishObserver:
    """Gathers the publisher's halves of one run."""

    def __init__(
        self,
        job: str,
        project: str,
        origin: str,
        backends: Mapping[ContentStrategy, str],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._job = job
        self._project = project
        self._origin = origin
        self._backends = backends
        self._now = now
        self._halves: list[PublishedHalf] = []

    def __call__(self, files: Sequence[PackedFile], seconds: float) -> None:
        """The log acknowledged these files of one batch after `seconds`, which they share by encoded size."""
        at = self._now()
        per_byte = seconds / max(1, sum(file.encoded_size for file in files))
        for file in files:
            facts = file.facts
            feasible = {file.strategy, *(choice.strategy for choice in file.others)}
            self._halves.append(
                PublishedHalf(
                    job=self._job,
                    file=file_key(self._job, facts.path),
                    at=at,
                    project=self._project,
                    strategy=file.strategy.value,
                    backend=self._backends.get(file.strategy, ""),
                    origin=self._origin,
                    feasible=",".join(sorted(feasible)),
                    size=facts.size,
                    language=facts.language,
                    extension=extension_of(facts.path),
                    encoding=facts.encoding,
                    pack_s=file.pack_s + per_byte * file.encoded_size,
                    wanted=file.wanted,
                    encoded_bytes=file.encoded_size,
                )
            )

    async def flush(self, history: History) -> None:
        """Write what gathered; it is kept where that fails."""
        taken, self._halves = self._halves, []
        try:
            await history.add_published(taken)
        except ArchonError:
            self._halves = taken + self._halves
            raise


class ConsumeObserver:
    """Gathers the consumer's halves of an agent's files. A `core.progress.Listener`."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._halves: list[ConsumedHalf] = []

    def __call__(self, event: RunEvent) -> None:
        match event:
            case FileResolved():
                key = file_key(event.job, event.path)
                self._halves.append(
                    ConsumedHalf(
                        event.job,
                        key,
                        self._now(),
                        event.source,
                        event.seconds,
                        event.cache_hit,
                        event.attempts,
                        event.wire_bytes,
                        "ok",
                    )
                )
            case FileFailed(reason=reason) if reason != AnalysisFailed.reason:
                self._halves.append(_failure(event.job, event.path, self._now(), reason))

    async def flush(self, history: History) -> None:
        """Write what gathered; it is kept where that fails."""
        taken, self._halves = self._halves, []
        try:
            await history.add_consumed(taken)
        except ArchonError:
            self._halves = taken + self._halves
            raise


def extension_of(path: str) -> str:
    """The extension without its dot, lower case, at most 16 characters; `""` for none."""
    return posixpath.splitext(path)[1][1:].lower()[:EXTENSION_LIMIT]


def _failure(job: str, path: str, at: float, reason: str) -> ConsumedHalf:
    return ConsumedHalf(job, file_key(job, path), at, None, None, None, None, None, reason)


@asynccontextmanager
async def observing(
    observer: PublishObserver | ConsumeObserver,
    history: History,
    *,
    interval_s: float = FLUSH_S,
    sleep: Sleep = asyncio.sleep,
) -> AsyncIterator[None]:
    """Write what `observer` gathers every `interval_s` seconds while inside, and at the end.

    A history that cannot be written is only logged: watching must never stop the work.
    """

    async def flush() -> None:
        try:
            await observer.flush(history)
        except ArchonError as error:
            logger.warning("the observation history is not written: %s", error)

    async with flushing(flush, interval_s, sleep):
        yield


async def sync(log: EventLog, history: History) -> int:
    """Take over the halves that agents published since the last time; how many there were.

    It may be cancelled at any time: the next call goes on from the last page.
    """
    taken = 0
    for topic, read in ((FILE_INTELLIGENCE, _delivered), (COMPLETED, _failures), (FAILED, _failures)):
        taken += await _sync_topic(log, history, topic, read)
    return taken


async def _sync_topic(
    log: EventLog, history: History, topic: str, read: Callable[[LogMessage], list[ConsumedHalf]]
) -> int:
    name = f"{log.name} {topic}"
    taken = messages = 0
    halves: list[ConsumedHalf] = []
    ends: dict[int, int] = {}

    async def write() -> None:
        synced = [(name, partition, end) for partition, end in ends.items()]
        await history.add_consumed(halves, synced=synced)
        halves.clear()

    async for message in log.browse(topic, starts=await history.synced(name)):
        found = read(message)
        halves += found
        ends[message.partition] = message.offset + 1
        taken += len(found)
        messages += 1
        if messages % _PAGE == 0:
            await write()
    if ends:
        await write()
    return taken


def _delivered(message: LogMessage) -> list[ConsumedHalf]:
    """The half in a result event; none of a tombstone, or of what carries no such half."""
    try:
        file = _Delivered.model_validate(from_json(message.value or b"")).payload
    except (ArchonError, ValidationError):
        return []
    job, delivery = file.correlation_id, file.delivery
    return [
        ConsumedHalf(
            job,
            file_key(job, file.path),
            message.timestamp_ms / 1000,
            file.content_source,
            delivery.seconds,
            delivery.cache_hit,
            delivery.attempts,
            delivery.wire_bytes,
            "ok",
        )
    ]


def _failures(message: LogMessage) -> list[ConsumedHalf]:
    try:
        event = _Failed.model_validate(from_json(message.value or b""))
    except (ArchonError, ValidationError):
        return []
    at = message.timestamp_ms / 1000
    return [
        _failure(event.correlation_id, failure.path, at, failure.reason)
        for failure in event.payload.failures
        if failure.reason != AnalysisFailed.reason
    ]
