"""The agents at work: each says how it is on the status topic, and anyone can read them all."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from core import __version__
from core.errors import InvalidEvent
from core.events.agent import AgentStatus, CacheFigures, HeldPartition, RecentError
from core.events.codec import from_json, to_json
from core.events.common import Source
from core.events.topics import AGENT_STATUS
from core.log.base import EventLog, OutgoingMessage, PublishFailure, TopicPartition
from core.progress import (
    BatchAbandoned,
    BatchFinished,
    BatchReceived,
    BreakerChanged,
    DeadLettered,
    FileFailed,
    FileResolved,
    RunEvent,
)
from core.safety.display import display
from core.safety.redact import redact

logger = logging.getLogger(__name__)

INTERVAL_S = 5.0
STALE_AFTER_INTERVALS = 3
ERRORS_KEPT = 5
# An agent that ends does not wait longer for a log that is gone.
GOODBYE_S = 2.0
ERROR_CHARACTERS = 500
CIRCUITS_KEPT = 100
_RATE_WINDOW_S = 60.0

# What a source's cache is called everywhere else.
_CACHE_OF = {"object_storage": "object", "git_reference": "git"}

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Member:
    """An agent as last heard of; `age_s` is how long ago that was."""

    status: AgentStatus
    age_s: float

    @property
    def left_alone(self) -> list[str]:
        """The backends whose circuit breaker is not closed."""
        return sorted(name for name, circuit in self.status.circuits.items() if circuit != "closed")

    @property
    def is_stale(self) -> bool:
        """Whether it missed so many turns to speak that it must be thought dead or cut off."""
        return self.age_s > STALE_AFTER_INTERVALS * self.status.interval_s


@dataclass(frozen=True, slots=True)
class Work:
    """What an agent's consumer does now, as it says itself."""

    partitions: frozenset[TopicPartition] = frozenset()
    in_flight_events: int = 0
    in_flight_bytes: int = 0
    progressed_s: float = 0.0
    blocked: str | None = None


class Tally:
    """Counts a run's events into an agent's status. A `core.progress.Listener`."""

    def __init__(
        self,
        source: Source,
        group: str,
        *,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._source = source
        self._group = group
        self._interval_s = interval_s
        self._clock = clock
        self._now = now
        self._started_at = now()
        self._counts: Counter[str] = Counter()
        self._hits: Counter[tuple[str, bool]] = Counter()
        self._open: dict[tuple[str, int, int], int] = {}
        self._batches: deque[tuple[float, int, int]] = deque()
        self._pending_bytes = 0
        self._errors: deque[RecentError] = deque(maxlen=ERRORS_KEPT)
        self._circuits: dict[str, str] = {}

    def __call__(self, event: RunEvent) -> None:
        match event:
            case BatchReceived():
                self._open[event.topic, event.partition, event.offset] = event.files
            case FileResolved():
                self._pending_bytes += event.bytes
                if event.cache_hit is not None:
                    self._hits[_CACHE_OF.get(event.source, event.source), event.cache_hit] += 1
            case FileFailed():
                self._remember(f"{event.path}: {event.message}")
            case BreakerChanged():
                backend = display(f"{event.kind} {event.name}" if event.name else event.kind)
                self._circuits.pop(backend, None)
                if event.state != "closed":
                    self._circuits[backend] = event.state.replace("_", "-")
                while len(self._circuits) > CIRCUITS_KEPT:
                    del self._circuits[next(iter(self._circuits))]
            case BatchAbandoned():
                self._open.pop((event.topic, event.partition, event.offset), None)
            case DeadLettered():
                self._counts["dead_lettered"] += 1
                if not event.files:
                    self._remember(event.message)
            case BatchFinished():
                self._open.pop((event.topic, event.partition, event.offset), None)
                self._counts["events"] += 1
                self._counts["files_processed"] += event.indexed
                self._counts["files_failed"] += event.failed
                self._batches.append((self._clock(), event.indexed, self._pending_bytes))
                self._pending_bytes = 0

    def _remember(self, error: str) -> None:
        """Keep an error as text that any reader of the status can show."""
        self._errors.append(RecentError(at=self._now(), message=display(error, limit=ERROR_CHARACTERS)))

    @property
    def files_in_flight(self) -> int:
        """Files of the events that are being processed."""
        return sum(self._open.values())

    def status(self, work: Work, caches: Mapping[str, CacheFigures] | None = None) -> AgentStatus:
        """The status now. `caches` gives sizes; hits and misses are counted here."""
        files_per_s, bytes_per_s = self._rates()
        figures = dict(caches or {})
        for name in {name for name, _ in self._hits} | figures.keys():
            known = figures.get(name, CacheFigures())
            counted = {"hits": self._hits[name, True], "misses": self._hits[name, False]}
            figures[name] = known.model_copy(update=counted)
        return AgentStatus(
            id=self._source.instance_id,
            version=__version__,
            host=self._source.hostname or "",
            pid=os.getpid(),
            started_at=self._started_at,
            at=self._now(),
            interval_s=self._interval_s,
            group=self._group,
            partitions=tuple(
                HeldPartition(topic=where.topic, partition=where.partition)
                for where in sorted(work.partitions)
            ),
            in_flight_events=work.in_flight_events,
            in_flight_bytes=work.in_flight_bytes,
            events=self._counts["events"],
            files_processed=self._counts["files_processed"],
            files_failed=self._counts["files_failed"],
            dead_lettered=self._counts["dead_lettered"],
            files_per_s=files_per_s,
            bytes_per_s=bytes_per_s,
            progressed_s=work.progressed_s,
            blocked=None if work.blocked is None else redact(work.blocked),
            caches=figures,
            last_errors=tuple(self._errors),
            circuits=dict(self._circuits),
        )

    def _rates(self) -> tuple[float, float]:
        now = self._clock()
        while self._batches and self._batches[0][0] < now - _RATE_WINDOW_S:
            self._batches.popleft()
        if not self._batches:
            return 0.0, 0.0
        span = max(1.0, now - self._batches[0][0])
        files = sum(entry[1] for entry in self._batches)
        moved = sum(entry[2] for entry in self._batches)
        return round(files / span, 1), round(moved / span, 1)


@asynccontextmanager
async def reporting(
    log: EventLog,
    collect: Callable[[], AgentStatus],
    *,
    interval_s: float = INTERVAL_S,
    sleep: Sleep = asyncio.sleep,
) -> AsyncIterator[None]:
    """Publish `collect()` every `interval_s` seconds while inside, and a tombstone at the end.

    A status that cannot be published is only logged: telling must never stop the work.
    """
    key = collect().id.encode()

    async def speak(what: Callable[[], AgentStatus] | None) -> None:
        try:
            value = None if what is None else to_json(what())
            (answer,) = await log.publish(AGENT_STATUS, [OutgoingMessage(key, value)])
            problem = str(answer.error) if isinstance(answer, PublishFailure) else None
        except Exception as error:  # noqa: BLE001 - nothing may end the telling: the agent would seem dead
            problem = f"{type(error).__name__}: {error}"
        if problem:
            logger.warning("the agent's status is not published: %s", problem)

    async def go_on() -> None:
        while True:
            await speak(collect)
            await sleep(interval_s)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await speak(None)


async def read_fleet(
    log: EventLog, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> list[Member]:
    """Every agent that spoke and has not ended in order, by id; what is no status is passed over.

    An agent's age is measured by the log's time of its last status, not by the agent's own clock.
    """
    latest: dict[bytes, tuple[AgentStatus, float]] = {}
    async for message in log.browse(AGENT_STATUS):
        key = message.key or b""
        if message.value is None:
            latest.pop(key, None)
            continue
        try:
            status = AgentStatus.model_validate(from_json(message.value))
            latest[key] = (status, message.timestamp_ms / 1000)
        except (ValidationError, InvalidEvent):
            logger.debug("%s holds no agent's status", message.position)
    present = now().timestamp()
    members = [Member(status, max(0.0, present - heard)) for status, heard in latest.values()]
    return sorted(members, key=lambda member: member.status.id)


def owners(members: Sequence[Member], group: str) -> dict[TopicPartition, str]:
    """Which live agent of `group` has which partition; empty where no agent of the group is alive."""
    ours = [member for member in members if member.status.group == group]
    return {
        TopicPartition(held.topic, held.partition): member.status.id
        for member in ours
        if not member.is_stale
        for held in member.status.partitions
    }
