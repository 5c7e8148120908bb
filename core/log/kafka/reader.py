"""Reading Kafka outside any group: messages by position, whole topics, offsets and times."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import aiokafka
from aiokafka import AIOKafkaConsumer
from aiokafka import errors as kafka

from core.errors import BackendUnavailable
from core.log.base import LogMessage, Position, TopicPartition, started
from core.log.kafka.consumer import message_of
from core.log.kafka.errors import translate

Answer = TypeVar("Answer")
_PAGE = 200
_STEP = 20
_PAGE_BYTES = 4 * 1024 * 1024
"""Of a page of one partition; a single larger message makes a page of its own."""
_FETCH_BYTES = 6 * 1024 * 1024
# A broker holds a fetch that finds nothing for so long, and whoever asks next waits for it.
_FETCH_WAIT_MS = 50


class Reader:
    """One lazily connected consumer without a group; its calls take turns."""

    def __init__(self, options: Mapping[str, Any], *, patience_s: float) -> None:
        self._options = options
        self._patience_s = patience_s
        self._client: AIOKafkaConsumer | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Close the connection. Idempotent."""
        client, self._client = self._client, None
        if client:
            await client.stop()

    async def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """First offset and end of each partition, in one request per broker each."""
        natives = [aiokafka.TopicPartition(*where) for where in partitions]

        async def ask(client: AIOKafkaConsumer) -> tuple[dict[Any, int], dict[Any, int]]:
            return await client.beginning_offsets(natives), await client.end_offsets(natives)

        if not natives:
            return {}
        begins, ends = await self._asked("asking for offsets", ask)
        return {TopicPartition(*native): (begins[native], ends[native]) for native in natives}

    async def at_times(
        self, times_ms: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, tuple[int, int] | None]:
        """Offset and time of the first message at or after each time; None where there is none."""
        wanted = {aiokafka.TopicPartition(*where): time for where, time in times_ms.items()}

        async def ask(client: AIOKafkaConsumer) -> dict[Any, Any]:
            return dict(await client.offsets_for_times(wanted))

        found = await self._asked("asking for offsets by time", ask) if wanted else {}
        return {
            TopicPartition(*native): None if entry is None or entry.offset < 0 else tuple(entry)
            for native, entry in found.items()
        }

    async def read(self, position: Position) -> LogMessage | None:
        """The message at `position`, or None when it is gone or not there yet."""
        where = TopicPartition(position.topic, position.partition)
        begin, end = (await self.bounds([where]))[where]
        if not begin <= position.offset < end:
            return None

        async def ask(client: AIOKafkaConsumer) -> LogMessage | None:
            async with aclosing(_span(client, where, position.offset, end)) as messages:
                async for message in messages:
                    return message if message.offset == position.offset else None
            return None

        return await self._asked(f"reading {position.topic}", ask)

    async def browse(
        self, places: Mapping[TopicPartition, int], *, limit: int | None, newest_first: bool
    ) -> AsyncIterator[LogMessage]:
        """The messages of partitions from these offsets up to their present ends, in order of time."""
        bounds = await self.bounds(places)
        streams = [
            (self._backwards if newest_first else self._forwards)(where, start, end)
            for where, (begin, end) in bounds.items()
            if (start := started(begin, end, places[where])) < end
        ]
        sign = -1 if newest_first else 1
        count = 0
        async for message in _merged(streams, lambda each: (sign * each.timestamp_ms, sign * each.offset)):
            if limit is not None and count >= limit:
                return
            count += 1
            yield message

    async def _forwards(self, where: TopicPartition, begin: int, end: int) -> AsyncIterator[LogMessage]:
        while begin < end:
            page = await self._page(where, begin, end)
            for message in page:
                yield message
            begin = page[-1].offset + 1 if page else end

    async def _backwards(self, where: TopicPartition, begin: int, end: int) -> AsyncIterator[LogMessage]:
        window = _PAGE
        while begin < end:
            start = max(begin, end - window)
            page = await self._page(where, start, end)
            if page and _size(page) >= _PAGE_BYTES and page[-1].offset + 1 < end and end - start > 1:
                window = max(1, window // 2)  # the page ended before the window did
                continue
            for message in reversed(page):
                yield message
            end = start

    async def _page(self, where: TopicPartition, begin: int, end: int) -> list[LogMessage]:
        async def ask(client: AIOKafkaConsumer) -> list[LogMessage]:
            page: list[LogMessage] = []
            held = 0
            async with aclosing(_span(client, where, begin, end)) as messages:
                async for message in messages:
                    page.append(message)
                    held += len(message.value or b"")
                    if len(page) == _PAGE or held >= _PAGE_BYTES:
                        break
            return page

        return await self._asked(f"reading {where.topic}", ask)

    async def _asked(self, doing: str, ask: Callable[[AIOKafkaConsumer], Awaitable[Answer]]) -> Answer:
        try:
            async with self._lock, asyncio.timeout(self._patience_s):
                return await ask(await self._connected())
        except TimeoutError:
            raise BackendUnavailable(f"{doing}: no answer in {self._patience_s:g} s") from None
        except (kafka.KafkaError, OSError) as error:
            raise translate(error, doing) from error

    async def _connected(self) -> AIOKafkaConsumer:
        if self._client is None:
            client = AIOKafkaConsumer(
                **self._options,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                max_partition_fetch_bytes=_FETCH_BYTES,
                fetch_max_wait_ms=_FETCH_WAIT_MS,
            )
            try:
                await client.start()
            except BaseException:
                await client.stop()
                raise
            self._client = client
        return self._client


async def _span(
    client: AIOKafkaConsumer, where: TopicPartition, begin: int, end: int
) -> AsyncGenerator[LogMessage, None]:
    """Messages from `begin` to below `end`; offsets that compaction or a transaction took are passed over."""
    native = aiokafka.TopicPartition(*where)
    client.assign([native])
    client.seek(native, begin)
    try:
        while await client.position(native) < end:
            # Few at a time: compressed messages are small until they are unpacked.
            fetched = await client.getmany(native, timeout_ms=_FETCH_WAIT_MS, max_records=_STEP)
            for record in fetched.get(native, ()):
                if record.offset >= end:
                    return
                yield message_of(record)
    finally:
        client.unsubscribe()  # or it would go on fetching what nobody asked for


async def _merged(
    streams: Iterable[AsyncIterator[LogMessage]], order: Callable[[LogMessage], tuple[int, int]]
) -> AsyncIterator[LogMessage]:
    """The messages of ordered `streams` as one ordered stream."""
    heap: list[tuple[tuple[int, int], int, LogMessage, AsyncIterator[LogMessage]]] = []

    async def push(number: int, stream: AsyncIterator[LogMessage]) -> None:
        if message := await anext(stream, None):
            heapq.heappush(heap, (order(message), number, message, stream))

    for number, stream in enumerate(streams):
        await push(number, stream)
    while heap:
        _order, number, message, stream = heapq.heappop(heap)
        yield message
        await push(number, stream)


def _size(page: Sequence[LogMessage]) -> int:
    return sum(len(message.value or b"") for message in page)
