"""The loop: poll -> process side by side -> commit the contiguous low-water mark."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.errors import ArchonError, RetryableError
from core.log.base import EventLog, LogConsumer, LogMessage, PartitionLag, TopicPartition
from core.log.lag import LOST_HINT
from core.log.offsets import OffsetTracker
from core.outcome_events import BatchOutcome
from core.processor import RequestProcessor
from core.progress import EventsLost, Listener, ignore
from core.safety.display import display

logger = logging.getLogger(__name__)

POLL_MESSAGES = 8
COMMIT_AGAIN_S = 1.0
# Long enough to be idle while nothing comes, short enough to notice a drained log.
POLL_SECONDS = 0.25
# Each costs a request before the first message is read, and a cluster may have thousands.
_GROUPS_ASKED = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Back-pressure and patience. One message over a limit is still taken when nothing else is in flight."""

    messages: int = 16
    bytes: int = 64 << 20
    grace_s: float = 25.0
    revoke_s: float = 10.0
    close_s: float = 2.5


@dataclass(slots=True)
class RunSummary:
    """What a consumer did; `to_json` is the published shape of `run --drain --json`."""

    events: int = 0
    files_processed: int = 0
    files_failed: int = 0
    files_skipped: int = 0
    files_deleted: int = 0
    files_superseded: int = 0
    deletions_superseded: int = 0
    dead_lettered: int = 0
    by_source: Counter[str] = field(default_factory=Counter)
    fallbacks: Counter[str] = field(default_factory=Counter)
    duration_s: float = 0.0
    abandoned: int = 0

    def add(self, outcome: BatchOutcome) -> None:
        """Count one message's outcome."""
        self.events += 1
        self.files_processed += outcome.indexed
        self.files_failed += outcome.failed
        self.files_skipped += outcome.skipped
        self.files_deleted += outcome.deleted
        self.files_superseded += outcome.superseded
        self.deletions_superseded += outcome.superseded_deletions
        self.dead_lettered += outcome.dead_lettered
        self.by_source.update(outcome.by_source)
        self.fallbacks.update(outcome.fallbacks)

    def to_json(self) -> dict[str, Any]:
        """The published shape.

        `files_superseded` counts those of `files_skipped`, `deletions_superseded` the deletions, that a newer
        request had overtaken; `abandoned` messages were left for redelivery.
        """
        return {
            "events": self.events,
            "files_processed": self.files_processed,
            "files_failed": self.files_failed,
            "files_skipped": self.files_skipped,
            "files_deleted": self.files_deleted,
            "files_superseded": self.files_superseded,
            "deletions_superseded": self.deletions_superseded,
            "dead_lettered": self.dead_lettered,
            "by_source": dict(self.by_source),
            "fallbacks": dict(self.fallbacks),
            "abandoned": self.abandoned,
            "duration_ms": round(self.duration_s * 1000),
        }


class Consumer:
    """Works through request topics as one member of a group."""

    def __init__(
        self,
        log: EventLog,
        processor: RequestProcessor,
        *,
        group: str,
        topics: Sequence[str],
        member_id: str,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.perf_counter,
        listener: Listener = ignore,
    ) -> None:
        self._tell = listener
        self._checked: frozenset[TopicPartition] = frozenset()
        self._log = log
        self._processor = processor
        self._group = group
        self._topics = topics
        self._member_id = member_id
        self._limits = limits or Limits()
        self._clock = clock
        self._offsets = OffsetTracker()
        self._tasks: dict[asyncio.Task[None], LogMessage] = {}
        self._begun: dict[asyncio.Task[None], float] = {}
        self._bytes = 0
        self._to_commit = asyncio.Event()
        self._summary = RunSummary()
        self._failure: Exception | None = None
        self._member: LogConsumer | None = None
        self._commit_error: str | None = None
        self.progressed_at = clock()
        self.paused = False
        """While set nothing new is taken; what is in flight finishes, and the group keeps this member."""

    @property
    def summary(self) -> RunSummary:
        """What was done so far."""
        return self._summary

    @property
    def in_flight(self) -> tuple[int, int]:
        """Messages and bytes being processed."""
        return len(self._tasks), self._bytes

    @property
    def oldest_in_flight_s(self) -> float:
        """Seconds that the oldest message in flight has been processed; 0 where there is none."""
        return self._clock() - min(self._begun.values()) if self._begun else 0.0

    @property
    def has_joined(self) -> bool:
        """Whether the group has taken this member in."""
        return self._member is not None

    @property
    def progress_age(self) -> float:
        """Seconds since the loop last went round."""
        return self._clock() - self.progressed_at

    @property
    def blocked(self) -> str | None:
        """What keeps offsets from being committed, in words; None where nothing does."""
        return self._processor.blocked or self._commit_error

    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions that are ours now."""
        return self._member.assignment() if self._member else frozenset()

    async def run(self, *, drain: bool, stop: asyncio.Event) -> RunSummary:
        """Consume until `stop` is set or, with `drain`, until the group has no lag.

        After `stop`, what is in flight has `grace_s` seconds to finish; the rest is left uncommitted and
        will be delivered again. Raises what made a durable step fail for good.
        """
        started = self._clock()
        if (member := await self._join(stop)) is None:
            return self._summary
        self._member = member
        member.on_revoked(self._revoked)
        committer = asyncio.create_task(self._commit_when_told())
        try:
            await self._consume(member, drain, stop)
            await self._finish()
        finally:
            committer.cancel()
            await asyncio.gather(committer, return_exceptions=True)
            await self._abandon()
            try:
                async with asyncio.timeout(self._limits.close_s):
                    await self._commit()
            except (ArchonError, TimeoutError) as error:
                logger.warning(
                    "the last offsets are not committed, their events come again: %s", error or "no answer"
                )
            try:
                async with asyncio.timeout(self._limits.close_s):
                    await member.close()
            except TimeoutError:
                logger.warning("the group does not answer the goodbye: it will notice the silence")
            self._summary.duration_s = self._clock() - started
        if self._failure:
            raise self._failure
        return self._summary

    async def _join(self, stop: asyncio.Event) -> LogConsumer | None:
        """A place in the group; None where `stop` was set first: a group may take minutes to let us in."""
        joining = asyncio.ensure_future(
            self._log.consumer(self._group, self._topics, member_id=self._member_id)
        )
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({joining, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if joining.done():
                return joining.result()
            return None
        finally:
            stopped.cancel()
            if not joining.done():
                joining.cancel()
                await asyncio.wait({joining}, timeout=self._limits.close_s)

    async def _consume(self, member: LogConsumer, drain: bool, stop: asyncio.Event) -> None:
        stopped = asyncio.create_task(stop.wait())
        try:
            while not (stop.is_set() or self._failure):
                self.progressed_at = self._clock()
                if self._is_full():
                    await self._hold(member, stopped)
                    continue
                if member.assignment() != self._checked:
                    await self._look_for_losses(member.assignment())
                taken = await self._take(member, POLL_SECONDS)
                if not taken and not self._tasks:
                    await self._pass_over(member)
                if drain and not taken and not self._tasks and await self._is_drained():
                    return
        finally:
            stopped.cancel()

    async def _look_for_losses(self, assigned: frozenset[TopicPartition]) -> None:
        """Tell events of newly assigned partitions that the log removed before the group had read them."""
        gained, self._checked = assigned - self._checked, assigned
        if not gained:
            return
        try:
            places = await self._log.lag(self._group, self._topics)
        except ArchonError as error:
            logger.info("whether events were lost is not known: %s", error)
            return
        await self._warn_of_a_new_group(places)
        for place in places:
            if TopicPartition(place.topic, place.partition) not in gained or place.committed is None:
                continue
            if (lost := place.begin - place.committed) > 0:
                self._tell(EventsLost(place.topic, place.partition, place.committed, lost))
                logger.error(
                    "%d events of %s/%d from offset %d on were removed unread; %s",
                    lost,
                    place.topic,
                    place.partition,
                    place.committed,
                    LOST_HINT,
                )

    async def _warn_of_a_new_group(self, places: Sequence[PartitionLag]) -> None:
        """A group that has committed nothing reads everything again: perhaps its name was mistyped."""
        waiting = sum(place.lag for place in places)
        if not waiting or any(place.committed is not None for place in places):
            return
        try:
            groups = [group for group in await self._log.groups() if group != self._group][:_GROUPS_ASKED]
            others = [
                group
                for group in groups
                if any(place.committed for place in await self._log.lag(group, self._topics))
            ]
        except ArchonError as error:
            # Only a warning depends on it, and an agent may well be refused what belongs to other groups.
            logger.info("whether another group has read these events is not known: %s", error)
            return
        if others:
            logger.warning(
                "group %s has committed nothing yet and reads %d events again, which %s has read already;"
                " is its name right (--group)?",
                display(self._group),
                waiting,
                display(", ".join(sorted(others)[:3])),
            )

    async def _pass_over(self, member: LogConsumer) -> None:
        """Commit past offsets that no message has, such as the end markers of transactions."""
        before = member.assignment()
        positions = await member.positions()
        if not self._tasks and before == member.assignment():
            for where, position in positions.items():
                self._offsets.reach(where, position)
            if self._offsets.committable():
                self._to_commit.set()

    async def _take(self, member: LogConsumer, timeout_s: float) -> int:
        """Poll once and start what came; the number of messages.

        Nothing is awaited between the two. A rebalance there would make messages look as if they were
        polled after it, and committing them would skip what was abandoned before.
        """
        room = max(1, self._limits.messages - len(self._tasks))
        messages = await member.poll(min(POLL_MESSAGES, room), timeout_s)
        for message in messages:
            self._start(message)
        return len(messages)

    def _is_full(self) -> bool:
        full = len(self._tasks) >= self._limits.messages or self._bytes >= self._limits.bytes
        return full or self.paused

    async def _hold(self, member: LogConsumer, stopped: asyncio.Task[bool]) -> None:
        """Take nothing more until something finishes, but stay in the group."""
        while self._is_full() and not stopped.done() and not self._failure:
            await asyncio.wait({*self._tasks, stopped}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            await member.poll(0, 0.0)
            self.progressed_at = self._clock()

    def _start(self, message: LogMessage) -> None:
        self._offsets.begin(message.where, message.offset)
        task = asyncio.create_task(self._process(message))
        self._tasks[task] = message
        self._begun[task] = self._clock()
        self._bytes += len(message.value or b"")
        task.add_done_callback(self._ended)

    async def _process(self, message: LogMessage) -> None:
        outcome = await self._processor.process(message)
        self._summary.add(outcome)
        self._offsets.finish(message.where, message.offset)
        self._to_commit.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        message = self._tasks.pop(task)
        del self._begun[task]
        self._bytes -= len(message.value or b"")
        if not task.cancelled() and (error := task.exception()):
            self._failure = self._failure or (
                error if isinstance(error, Exception) else RuntimeError(str(error))
            )
            logger.debug("processing %s failed", message.position, exc_info=error)

    async def _commit_when_told(self) -> None:
        while True:
            await self._to_commit.wait()
            self._to_commit.clear()
            try:
                complete = await self._commit()
            except RetryableError as error:
                logger.warning("offsets cannot be committed now: %s", error)
                self._commit_error = f"commit: {error}"
                await asyncio.sleep(COMMIT_AGAIN_S)
                self._to_commit.set()
            except Exception as error:  # noqa: BLE001 - work whose offsets never go would never end
                self._failure = self._failure or error
                return
            else:
                self._commit_error = None
                if not complete:  # what the rebalance takes away is dropped; the rest is tried again
                    await asyncio.sleep(COMMIT_AGAIN_S)
                    self._to_commit.set()

    async def _commit(self) -> bool:
        """Commit what can be; False where the log refused some of it because the group rebalances."""
        assert self._member  # noqa: S101 - set before anything can finish
        if offsets := self._offsets.committable():
            taken = await self._member.commit(offsets)
            self._offsets.committed(taken)
            return len(taken) == len(offsets)
        return True

    async def _is_drained(self) -> bool:
        return all(partition.lag == 0 for partition in await self._log.lag(self._group, self._topics))

    async def _finish(self) -> None:
        """Let what is in flight end, within the grace time."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=self._limits.grace_s)

    async def _abandon(self) -> None:
        """Cancel what is still in flight; uncommitted, it will be delivered again."""
        tasks = set(self._tasks)
        self._summary.abandoned = len(tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """Finish what is in flight of `partitions` within a limit, commit, and forget them.

        They are forgotten however that goes: kept, they would count once more when they come back.
        """
        tasks = {task for task, message in self._tasks.items() if message.where in partitions}
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=self._limits.revoke_s)
            await self._commit()
        except ArchonError as error:
            logger.warning("offsets of partitions that move are not committed: %s", error)
        finally:
            for task in tasks:
                task.cancel()
            self._offsets.drop(partitions)
