"""The port to an event log. `tests/contract/event_log.py` says what every adapter must do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Protocol, Self

Headers = tuple[tuple[str, bytes], ...]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Position(NamedTuple):
    """Where a message stands in the log."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message to publish. `value is None` is a tombstone. `partition` overrides the key's choice."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class LogMessage:
    """A message read from the log.

    `timestamp_ms` is by the log's own clock where `log_clock` is true, otherwise by the publisher's.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    log_clock: bool = False

    @property
    def where(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)

    @property
    def position(self) -> Position:
        return Position(self.topic, self.partition, self.offset)


@dataclass(frozen=True, slots=True)
class PublishFailure:
    """A message of a `publish` call that the log did not acknowledge: its index, and why."""

    index: int
    error: Exception


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """A group's place in a partition. `committed` is the next offset to read, None if never committed.

    `lag_seconds` is the age of the oldest unread message, interpolated where the log must; None if unknown.
    """

    topic: str
    partition: int
    committed: int | None
    begin: int
    end: int
    lag_seconds: float | None

    @property
    def lag(self) -> int:
        """Messages not yet committed."""
        return max(
            0, self.end - max(self.begin, self.committed if self.committed is not None else self.begin)
        )


def started(begin: int, end: int, start: int) -> int:
    """Where browsing from `start` begins in a partition of the offsets from `begin` to below `end`."""
    return start if begin <= start <= end else begin


RevokedHandler = Callable[[frozenset[TopicPartition]], Awaitable[None]]


class LogConsumer(Protocol):
    """A member of a consumer group. Offsets are committed by the caller only, never automatically."""

    async def poll(self, max_messages: int, timeout_s: float) -> Sequence[LogMessage]:
        """Messages after the current positions, oldest first per partition; empty after `timeout_s`.

        Without a committed offset a partition is read from its beginning. `max_messages == 0` keeps the
        place in the group and delivers nothing, from partitions that are gained meanwhile neither.
        """
        ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Make the next offsets to read durable. Returns those that the log took.

        A partition that is no longer ours is not among them, nor is any where the group is rebalancing.
        An offset below the committed one counts only after a `seek` of that partition.
        """
        ...

    async def seek(self, where: TopicPartition, offset: int) -> None:
        """Read `where` from `offset` on; a partition that is not ours is left alone."""
        ...

    async def positions(self) -> Mapping[TopicPartition, int]:
        """The offset of the next message of each of our partitions, as far as it is known.

        It moves on past offsets that no message has: compacted ones, and transactions' markers.
        """
        ...

    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions that are ours now."""
        ...

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        """Deliver nothing from `partitions` until `resume`."""
        ...

    def resume(self, partitions: frozenset[TopicPartition]) -> None: ...

    def on_revoked(self, handler: RevokedHandler) -> None:
        """Await `handler` before partitions go to another member; commits inside it still count."""
        ...

    async def close(self) -> None:
        """Await the revoked handler for what is assigned, then leave the group. Idempotent."""
        ...


class EventLog(Protocol):
    """Topics with partitions, consumer groups and lag."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def name(self) -> str:
        """Tells this log from every other; known once entered."""
        ...

    async def max_message_bytes(self, topic: str) -> int:
        """The largest value, with key and headers, that `topic` accepts, in bytes."""
        ...

    async def partitions(self, topic: str) -> int:
        """How many partitions `topic` has; for one that is missing, how many it would be made with."""
        ...

    async def publish(
        self, topic: str, messages: Sequence[OutgoingMessage]
    ) -> Sequence[Position | PublishFailure]:
        """Publish; one answer per message in order. A position means durable.

        A message over the limit is a `PublishFailure` with `MessageTooLarge`, one for a partition that
        the topic does not have with another `PermanentError`; the others still go.
        Raises `BackendUnavailable` when the log as a whole cannot be reached or written.
        """
        ...

    async def consumer(self, group: str, topics: Sequence[str], *, member_id: str) -> LogConsumer:
        """Join `group`. Raises `ConfigurationError` where the log cannot let this member in."""
        ...

    async def lag(self, group: str, topics: Sequence[str] | None = None) -> Sequence[PartitionLag]:
        """The group's place in every partition of `topics` (default: those it has committed to)."""
        ...

    async def groups(self) -> Sequence[str]:
        """The consumer groups the log knows."""
        ...

    async def topics(self) -> Sequence[str]:
        """The topics that exist."""
        ...

    def browse(
        self,
        topic: str,
        *,
        limit: int | None = None,
        newest_first: bool = False,
        starts: Mapping[int, int] | None = None,
    ) -> AsyncIterator[LogMessage]:
        """Read `topic` outside any group, from its oldest to its present end (or backwards).

        `starts` leaves out what is below an offset of a partition; one that the partition does not have
        leaves out nothing.
        """
        ...

    async def read(self, position: Position) -> LogMessage | None:
        """The message at `position`, or None when it is gone."""
        ...

    async def delete_before(self, where: TopicPartition, offset: int) -> None:
        """Remove the messages of a partition below `offset`."""
        ...
