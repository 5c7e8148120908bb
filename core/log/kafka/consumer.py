"""A member of a Kafka consumer group: manual commits, sticky assignment, cheap rebalances."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import aiokafka
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import errors as kafka
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from core.errors import BackendUnavailable
from core.log.base import LogMessage, RevokedHandler, TopicPartition
from core.log.kafka.assignor import TopicBalancedAssignor
from core.log.kafka.closing import CLOSE_S, within
from core.log.kafka.errors import translate
from core.settings.kafka import KafkaSettings

logger = logging.getLogger(__name__)

# Members learn of a rebalance from a heartbeat: a short interval makes it short for everybody.
_HEARTBEAT_S = 1.0
# aiokafka's poll waits for the end of a rebalance whatever its timeout: so much longer, and no more.
_REBALANCE_GLANCE_S = 1.0
_METADATA_MS = 15_000
"""How soon a topic that was made anew, or got partitions, is consumed."""

# Room for one message of the largest size archon sends; a larger one still comes, alone.
_FETCH_BYTES = 6 * 1024 * 1024


class KafkaConsumer:
    """One group member. Heartbeats go on in the background however long a batch takes."""

    def __init__(
        self,
        settings: KafkaSettings,
        options: Mapping[str, Any],
        group: str,
        topics: Sequence[str],
        member_id: str,
    ) -> None:
        self._group = group
        self._topics = list(topics)
        self._request_timeout_s = settings.request_timeout
        self._revoke_timeout_s = settings.rebalance_timeout / 2
        self._handlers: list[RevokedHandler] = []
        self._paused: frozenset[TopicPartition] = frozenset()
        self._committed: dict[TopicPartition, int] = {}
        self._holding = False
        self._closing = False
        self._closed = False
        self._client = AIOKafkaConsumer(
            **{**options, "client_id": member_id},
            group_id=group,
            group_instance_id=settings.instance_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",  # what was aborted was never published
            # aiokafka keeps what an assignor remembers in its class: every member needs its own. An older
            # archon in the group knows the second one only; then all use that.
            partition_assignment_strategy=(
                type("Balanced", (TopicBalancedAssignor,), {}),
                type("Sticky", (StickyPartitionAssignor,), {}),
            ),
            metadata_max_age_ms=_METADATA_MS,
            session_timeout_ms=_ms(settings.session_timeout),
            heartbeat_interval_ms=_ms(min(_HEARTBEAT_S, settings.session_timeout / 3)),
            rebalance_timeout_ms=_ms(settings.rebalance_timeout),
            max_poll_interval_ms=_ms(settings.max_poll_interval),
            max_partition_fetch_bytes=_FETCH_BYTES,
            fetch_max_bytes=_FETCH_BYTES,
        )

    async def start(self) -> None:
        """Join the group and wait for the first assignment."""
        self._client.subscribe(self._topics, listener=_Listener(self))
        try:
            await self._client.start()
        except BaseException as error:
            await self.close()
            if isinstance(error, Exception):
                raise translate(error, f"joining group {self._group}") from error
            raise

    async def poll(self, max_messages: int, timeout_s: float) -> Sequence[LogMessage]:
        """See `LogConsumer.poll`; empty too while the group is rebalancing."""
        if self._closing:
            return ()
        self._hold(max_messages == 0)
        try:
            async with asyncio.timeout(timeout_s + _REBALANCE_GLANCE_S):
                fetched = await self._client.getmany(
                    timeout_ms=_ms(timeout_s), max_records=max_messages or None
                )
        except TimeoutError:
            return ()
        except kafka.ConsumerStoppedError:
            return ()
        except kafka.KafkaError as error:
            raise translate(error, f"reading {', '.join(self._topics)}") from error
        return [message_of(record) for records in fetched.values() for record in records]

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """See `LogConsumer.commit`. Raises `BackendUnavailable` where the group cannot be reached."""
        ours = self.assignment()
        mine = {
            where: offset
            for where, offset in offsets.items()
            if where in ours and offset >= self._committed.get(where, 0)
        }
        if not mine:
            return {}
        doing = f"committing offsets of group {self._group}"
        try:
            # Without a limit aiokafka would retry for ever, for instance for a topic that was deleted.
            async with asyncio.timeout(self._request_timeout_s):
                await self._client.commit({_native(where): offset for where, offset in mine.items()})
        except (kafka.CommitFailedError, kafka.IllegalStateError) as error:
            # The group has moved on: whoever has the partitions now reads them again from there.
            logger.info("%s: not a member of this generation any more (%s)", doing, type(error).__name__)
            return {}
        except TimeoutError:
            raise BackendUnavailable(f"{doing}: no answer in {self._request_timeout_s:g} s") from None
        except kafka.KafkaError as error:
            raise translate(error, doing) from error
        self._committed |= mine
        return mine

    async def seek(self, where: TopicPartition, offset: int) -> None:
        """See `LogConsumer.seek`; nothing happens where `where` is not ours."""
        if where in self.assignment():
            self._client.seek(_native(where), offset)
            self._committed.pop(where, None)

    async def positions(self) -> Mapping[TopicPartition, int]:
        """See `LogConsumer.positions`."""
        found: dict[TopicPartition, int] = {}
        try:
            async with asyncio.timeout(_REBALANCE_GLANCE_S):
                for where in self.assignment():
                    found[where] = await self._client.position(_native(where))
        except (TimeoutError, kafka.KafkaError):  # one that is not known yet, or not ours any more
            pass
        return found

    def assignment(self) -> frozenset[TopicPartition]:
        """See `LogConsumer.assignment`."""
        if self._closed:
            return frozenset()
        return frozenset(TopicPartition(*native) for native in self._client.assignment())

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        """See `LogConsumer.pause`; lasts over a rebalance that leaves the partition ours."""
        ours = partitions & self.assignment()
        self._paused |= ours
        self._client.pause(*map(_native, ours))

    def resume(self, partitions: frozenset[TopicPartition]) -> None:
        """See `LogConsumer.resume`."""
        self._paused -= partitions
        if not self._holding:
            self._client.resume(*map(_native, partitions & self.assignment()))

    def on_revoked(self, handler: RevokedHandler) -> None:
        """See `LogConsumer.on_revoked`; it has half the rebalance timeout."""
        self._handlers.append(handler)

    async def close(self) -> None:
        """Leave the group; a static member keeps its place for the session timeout. Idempotent."""
        if self._closing:
            return
        self._closing = True
        if held := self.assignment():
            await self.revoked(held)
        self._closed = True
        await within(CLOSE_S, self._client.stop())

    async def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """Let the handlers finish before `partitions` may go to another member."""
        for handler in self._handlers:
            try:
                async with asyncio.timeout(self._revoke_timeout_s):
                    await handler(partitions)
            except TimeoutError:
                logger.warning(
                    "work on %d partitions was not finished within %g s of a rebalance: it stays uncommitted",
                    len(partitions),
                    self._revoke_timeout_s,
                )

    def assigned(self, partitions: frozenset[TopicPartition]) -> None:
        """Keep what was paused so; positions start again from what the group has committed."""
        self._committed.clear()
        self._paused &= partitions
        self._client.pause(*map(_native, partitions if self._holding else self._paused))

    def _hold(self, holding: bool) -> None:
        """Deliver nothing from any partition, whatever a rebalance brings, or go on."""
        if holding != self._holding:
            self._holding = holding
            ours = self.assignment()
            if holding:
                self._client.pause(*map(_native, ours))
            else:
                self._client.resume(*map(_native, ours - self._paused))


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    """Passes aiokafka's rebalances on. Its rebalances are eager: all partitions go, most come back."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        if partitions := frozenset(TopicPartition(*native) for native in revoked):
            await self._consumer.revoked(partitions)

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self._consumer.assigned(frozenset(TopicPartition(*native) for native in assigned))


def message_of(record: Any) -> LogMessage:
    """An aiokafka record as a message of the log."""
    return LogMessage(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple((name, value or b"") for name, value in record.headers),
        log_clock=record.timestamp_type == 1,  # LogAppendTime
    )


def _native(where: TopicPartition) -> Any:
    return aiokafka.TopicPartition(*where)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
