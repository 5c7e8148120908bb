"""The event log on Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from core.errors import BackendUnavailable, ConfigurationError
from core.log.base import (
    LogMessage,
    OutgoingMessage,
    PartitionLag,
    Position,
    PublishFailure,
    TopicPartition,
)
from core.log.kafka.admin import Admin
from core.log.kafka.closing import CLOSE_S, within
from core.log.kafka.consumer import KafkaConsumer
from core.log.kafka.errors import no_topic
from core.log.kafka.producer import Producer
from core.log.kafka.reach import Cluster, reach
from core.log.kafka.reader import Reader
from core.log.kafka.security import security_options
from core.log.kafka.setup import spec_of
from core.log.kafka.times import ages
from core.settings.kafka import KafkaSettings


class KafkaLog:
    """Kafka behind `EventLog`. Entering it reaches the cluster or raises `BackendUnavailable` in time."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        client_id: str = "archon",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._now = now
        self._connection: dict[str, Any] = {
            **security_options(settings),
            "client_id": client_id,
            "request_timeout_ms": round(settings.request_timeout * 1000),
        }
        options = {**self._connection, "bootstrap_servers": list(settings.servers)}
        self._options = options
        self.admin = Admin(options, patience_s=settings.request_timeout)
        self._reader = Reader(options, patience_s=settings.request_timeout)
        self._producer = Producer(
            {
                **options,
                "compression_type": None if settings.compression == "none" else settings.compression,
                "linger_ms": round(settings.linger * 1000),
                "max_request_size": 2**31 - 1,
            },
            self.admin.max_message_bytes,
            batch_bytes=settings.batch_bytes,
            delivery_timeout_s=settings.delivery_timeout,
        )
        self._consumers: list[KafkaConsumer] = []
        self._known: set[str] = set()
        self._knowing = asyncio.Lock()
        self._cluster = Cluster("", ())

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._cluster = await reach(settings.servers, self._connection, settings.reach_timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for consumer in self._consumers:
            await consumer.close()
        # Whatever was published is acknowledged by now; a broker that hangs must not hold the end up.
        await asyncio.gather(
            *(within(CLOSE_S, part.close()) for part in (self._producer, self._reader, self.admin))
        )

    @property
    def name(self) -> str:
        """See `EventLog`: the cluster's own id, whatever addresses it is reached by."""
        return f"kafka-{self._cluster.cluster_id or ','.join(self._settings.servers)}"

    @property
    def cluster(self) -> Cluster:
        """The cluster as it was when this log was entered."""
        return self._cluster

    async def max_message_bytes(self, topic: str) -> int:
        """See `EventLog`. Raises `ConfigurationError` where the topic is missing and not to be created."""
        await self._existing([topic])
        return await self._producer.limit(topic)

    async def partitions(self, topic: str) -> int:
        """See `EventLog`."""
        return len(await self._partitions([topic])) or self._settings.partitions

    async def publish(
        self, topic: str, messages: Sequence[OutgoingMessage]
    ) -> Sequence[Position | PublishFailure]:
        """See `EventLog`; what stays unacknowledged for the delivery timeout counts as unpublished.

        A topic that is gone may come back: `BackendUnavailable`, unlike where its limit is asked.
        """
        if not messages:
            return []
        try:
            await self._existing([topic])
        except ConfigurationError as error:
            raise BackendUnavailable(str(error), hint=error.hint) from None
        try:
            answers = await self._producer.send(topic, messages)
        except BackendUnavailable:
            self._known.discard(topic)  # it may have been deleted: look, and make it, before the next try
            raise
        if any(isinstance(each, PublishFailure) for each in answers):
            self._known.discard(topic)
        return answers

    async def consumer(self, group: str, topics: Sequence[str], *, member_id: str) -> KafkaConsumer:
        """See `EventLog`; waits until the group has given this member its partitions."""
        await self._existing(topics)
        consumer = KafkaConsumer(self._settings, self._options, group, topics, member_id)
        await consumer.start()
        self._consumers.append(consumer)
        return consumer

    async def lag(self, group: str, topics: Sequence[str] | None = None) -> Sequence[PartitionLag]:
        """See `EventLog`. A fixed number of requests per broker, whatever the number of partitions."""
        committed = await self.admin.committed(group)
        wanted = set(topics) if topics is not None else {where.topic for where in committed}
        partitions = await self._partitions(wanted)
        bounds = await self._reader.bounds(partitions)
        unread = {}
        for where, (begin, end) in bounds.items():
            oldest = max(begin, committed.get(where, begin))
            if oldest < end:
                unread[where] = (oldest, end)
        waiting = await ages(unread, round(self._now() * 1000), self._reader.at_times)
        return [
            PartitionLag(
                topic=where.topic,
                partition=where.partition,
                committed=committed.get(where),
                begin=bounds[where][0],
                end=bounds[where][1],
                lag_seconds=waiting.get(where) if where in unread else 0.0,
            )
            for where in partitions
        ]

    async def groups(self) -> Sequence[str]:
        """See `EventLog`."""
        return await self.admin.groups()

    async def topics(self) -> Sequence[str]:
        """See `EventLog`; Kafka's own are left out."""
        return sorted(await self.admin.topics())

    async def browse(
        self,
        topic: str,
        *,
        limit: int | None = None,
        newest_first: bool = False,
        starts: Mapping[int, int] | None = None,
    ) -> AsyncIterator[LogMessage]:
        """See `EventLog`; in order of time over all partitions. A missing topic is empty."""
        places = {where: (starts or {}).get(where.partition, 0) for where in await self._partitions([topic])}
        async for message in self._reader.browse(places, limit=limit, newest_first=newest_first):
            yield message

    async def read(self, position: Position) -> LogMessage | None:
        """See `EventLog`."""
        where = TopicPartition(position.topic, position.partition)
        return await self._reader.read(position) if where in await self._partitions([where.topic]) else None

    async def delete_before(self, where: TopicPartition, offset: int) -> None:
        """See `EventLog`."""
        await self.admin.delete_before(where, offset)

    async def _partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        """The partitions of those of `topics` that exist."""
        existing = await self.admin.topics()
        return [
            TopicPartition(topic, number)
            for topic in sorted(set(topics))
            for number in existing.get(topic, ())
        ]

    async def _existing(self, topics: Sequence[str]) -> None:
        """Make sure of `topics`: create the missing where that is allowed, else `ConfigurationError`."""
        if self._known.issuperset(topics):
            return
        async with self._knowing:
            missing = [topic for topic in topics if topic not in await self.admin.topics()]
            if missing and not self._settings.create_topics:
                raise no_topic(missing)
            if missing:
                specs = [spec_of(topic, self._settings.partitions) for topic in missing]
                await self.admin.create(specs, self._settings.replication)
            self._known.update(topics)
