"""The `EventLog` on one SQLite file."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from core.database import Database
from core.errors import ArchonError, ConfigurationError
from core.events.topics import Retention, retention
from core.log.base import LogMessage, OutgoingMessage, PartitionLag, Position, PublishFailure, TopicPartition
from core.log.embedded import queries
from core.log.embedded import retention as room
from core.log.embedded.append import append
from core.log.embedded.consumer import EmbeddedConsumer
from core.log.embedded.store import Store
from core.log.embedded.tables import SCHEMA, Partition, ensure_topic, partitions_of

_HOUSEKEEPING_S = 60 * 60.0
_logger = logging.getLogger(__name__)


class EmbeddedLog:
    """An event log for the processes of one machine, in the SQLite file `path`.

    Topics are made on first use with `partitions` partitions; a key goes where Kafka's default
    partitioner sends it. A group's partition has one reader at a time, see `membership`. A message may have
    `max_message_bytes` of key, value and headers. Messages are removed as `retention` says, when the
    log is opened and every hour. `clock` is wall time in seconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        partitions: int = 4,
        max_message_bytes: int = 6 * 1024 * 1024,
        session_timeout_s: float = 30.0,
        retention: Callable[[str], Retention] = retention,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = Store(
            Database(path, SCHEMA), Database(path, SCHEMA), partitions, session_timeout_s, clock, sleep
        )
        self._max_message_bytes = max_message_bytes
        self._retention = retention
        self._unkeyed = itertools.count(random.randrange(partitions))  # noqa: S311, only spreads load
        self._consumers: set[EmbeddedConsumer] = set()
        self._open = AsyncExitStack()
        self._name = "embedded"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._store.writer)
            await stack.enter_async_context(self._store.reader)
            self._name = f"embedded-{await self._store.reader.read(queries.identity)}"
            housekeeper = asyncio.create_task(self._keep_house(), name="event log housekeeping")
            stack.push_async_callback(_cancelled, housekeeper)
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for consumer in list(self._consumers):
                await consumer.close()
        finally:
            await self._open.aclose()

    @property
    def name(self) -> str:
        """Tells this log from every other, also from one made anew in its path; known once entered."""
        return self._name

    async def max_message_bytes(self, topic: str) -> int:
        return self._max_message_bytes

    async def partitions(self, topic: str) -> int:
        found = await self._store.reader.read(partial(partitions_of, topic=topic))
        return len(found) or self._store.partitions

    async def create_topic(self, topic: str, partitions: int | None = None) -> None:
        """Make `topic` unless it exists, which keeps the partitions it has."""
        await self._store.writer.write(
            partial(ensure_topic, topic=topic, partitions=partitions or self._store.partitions)
        )

    async def publish(
        self, topic: str, messages: Sequence[OutgoingMessage]
    ) -> Sequence[Position | PublishFailure]:
        """As the port says; one transaction, so that a crash leaves all of `messages` or none."""
        answers = await self._store.writer.write(
            partial(
                append,
                topic=topic,
                messages=messages,
                partitions=self._store.partitions,
                limit_bytes=self._max_message_bytes,
                unkeyed=self._unkeyed,
                now_ms=self._store.now_ms(),
            )
        )
        for consumer in self._consumers:
            consumer.wake()
        return answers

    async def consumer(self, group: str, topics: Sequence[str], *, member_id: str) -> EmbeddedConsumer:
        """As the port says; raises `ConfigurationError` naming the owners when nothing is free."""
        if not topics:
            raise ConfigurationError("there are no topics to consume", hint="name them with --topics")
        consumer = EmbeddedConsumer(self._store, group, topics, member_id, self._consumers.discard)
        self._consumers.add(consumer)
        try:
            await consumer.join()
        except BaseException:
            await consumer.close()
            raise
        return consumer

    async def lag(self, group: str, topics: Sequence[str] | None = None) -> Sequence[PartitionLag]:
        return await self._store.reader.read(
            partial(queries.lag_of, group=group, chosen=topics, now_ms=self._store.now_ms())
        )

    async def groups(self) -> Sequence[str]:
        return await self._store.reader.read(queries.groups)

    async def topics(self) -> Sequence[str]:
        return await self._store.reader.read(queries.topics)

    async def browse(
        self,
        topic: str,
        *,
        limit: int | None = None,
        newest_first: bool = False,
        starts: Mapping[int, int] | None = None,
    ) -> AsyncIterator[LogMessage]:
        """As the port says; partitions are merged by time, each in its own order."""
        partitions = await self._store.reader.read(partial(partitions_of, topic=topic))
        pages = [queries.Pages(each, newest_first, (starts or {}).get(each.number, 0)) for each in partitions]
        left = limit
        while left is None or left > 0:
            hungry = [page for page in pages if page.is_hungry]
            if hungry:
                await self._store.reader.read(partial(queries.turn, pages=hungry, limit=left))
            if not (full := [page for page in pages if page.messages]):
                return
            choose = max if newest_first else min
            page = choose(full, key=lambda page: (page.messages[0].timestamp_ms, page.messages[0].position))
            yield page.messages.popleft()
            left = left if left is None else left - 1

    async def read(self, position: Position) -> LogMessage | None:
        return await self._store.reader.read(partial(queries.message_at, position=position))

    async def delete_before(self, where: TopicPartition, offset: int) -> None:
        partition = await self._partition(where)
        if partition is not None:
            await self._remove_below(partition, min(offset, partition.end))

    async def prune(self, older_than_s: float | None = None) -> None:
        """Remove what may go, and give the room back when most of the file is empty.

        `older_than_s` stands in for the seconds of every topic's retention; what is kept until it is
        read stays in any case.
        """
        for topic in await self.topics():
            rule = self._retention(topic)
            age_s = rule.seconds if older_than_s is None else older_than_s
            written_before_ms = self._store.now_ms() - int(age_s * 1000)
            for partition in await self._store.reader.read(partial(partitions_of, topic=topic)):
                await self._prune(partition, rule, written_before_ms)
        while not await self._store.writer.run(room.shrink):
            pass

    async def size_bytes(self) -> int:
        """What the log takes on disk, its write-ahead log included."""
        return await asyncio.to_thread(_size_bytes, self._store.writer.path)

    async def _partition(self, where: TopicPartition) -> Partition | None:
        partitions = await self._store.reader.read(partial(partitions_of, topic=where.topic))
        return next((partition for partition in partitions if partition.where == where), None)

    async def _prune(self, partition: Partition, rule: Retention, written_before_ms: int) -> None:
        if not rule.compacted:
            end = await self._store.reader.read(
                partial(
                    room.removable_end, partition=partition, rule=rule, written_before_ms=written_before_ms
                )
            )
            await self._remove_below(partition, end)
            return
        places = await self._store.reader.read(
            partial(room.superseded, partition=partition, written_before_ms=written_before_ms)
        )
        for at in range(0, len(places), room.STEP_MESSAGES):
            await self._store.writer.write(partial(room.remove, places=places[at : at + room.STEP_MESSAGES]))

    async def _remove_below(self, partition: Partition, end: int) -> None:
        done = end <= partition.begin
        while not done:
            done = await self._store.writer.write(
                partial(room.remove_below, partition_id=partition.id, end=end)
            )

    async def _keep_house(self) -> None:
        while True:
            try:
                await self.prune()
            except ArchonError as error:
                _logger.warning("old messages were not removed: %s", error)
            await self._store.sleep(_HOUSEKEEPING_S)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _size_bytes(path: Path) -> int:
    total = 0
    for file in (path, path.with_name(path.name + "-wal")):
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total
