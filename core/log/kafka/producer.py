"""Publishing to Kafka: idempotent, acknowledged by all in-sync replicas, within a delivery timeout."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from core.errors import BackendUnavailable, MessageTooLarge, PermanentError
from core.log.base import OutgoingMessage, Position, PublishFailure
from core.log.kafka.errors import translate

logger = logging.getLogger(__name__)

# What a record batch adds around one message: 61 bytes of batch header, up to 36 of record framing, and
# up to 10 for each of a few headers.
LIMIT_AGE_S = 30.0
"""Seconds after which a topic is asked for its limit again."""

RESERVE = 256
_RETIRE_PATIENCE_S = 2.0

# After one of these the producer is of no use any more: the broker misses a number of its sequence.
_BROKEN = (
    kafka.OutOfOrderSequenceNumber,
    kafka.UnknownProducerId,
    kafka.InvalidProducerEpoch,
    kafka.InvalidProducerIdMapping,
    kafka.ProducerFenced,
    kafka.ProducerClosed,
)
_TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)
_ROUNDS = 3
_BACKOFF_S = 0.2

Outcome = Position | PublishFailure


def payload_size(message: OutgoingMessage) -> int:
    """Bytes of key, value and headers."""
    headers = sum(len(name.encode()) + len(value) for name, value in message.headers)
    return len(message.key or b"") + len(message.value or b"") + headers


class Producer:
    """Sends messages through one aiokafka producer, replaced whenever its sequence of numbers is broken.

    aiokafka numbers a batch when it is sent: one that the broker refuses, or that is given up, leaves a gap
    and every later batch of that partition would be refused. A new producer starts a new sequence.

    `ask_limit` gives a topic's `max.message.bytes`; the answer is kept until the broker contradicts it.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        ask_limit: Callable[[str], Awaitable[int]],
        *,
        batch_bytes: int,
        delivery_timeout_s: float,
    ) -> None:
        self._options = options
        self._ask_limit = ask_limit
        self._batch_bytes = batch_bytes
        self._delivery_timeout_s = delivery_timeout_s
        self._limits: dict[str, tuple[int, float]] = {}
        self._current: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()
        self._retired: set[asyncio.Task[None]] = set()

    async def limit(self, topic: str) -> int:
        """The most bytes of key, value and headers that `topic` accepts, whatever they compress to."""
        now = asyncio.get_running_loop().time()
        known = self._limits.get(topic)
        if known is None or now - known[1] > LIMIT_AGE_S:  # somebody may have repaired the topic
            known = self._limits[topic] = (await self._ask_limit(topic) - RESERVE, now)
        return known[0]

    async def send(self, topic: str, messages: Sequence[OutgoingMessage]) -> list[Outcome]:
        """One outcome per message, in order.

        Raises `BackendUnavailable` where nothing was acknowledged because the log cannot be reached.
        """
        deadline = asyncio.get_running_loop().time() + self._delivery_timeout_s
        outcomes: dict[int, Outcome] = {}
        pending = list(range(len(messages)))
        for rounds_left in reversed(range(_ROUNDS)):
            fitting = await self._fitting(topic, messages, pending, outcomes)
            errors = await self._attempt(topic, messages, fitting, outcomes, deadline)
            pending = [i for i in errors if rounds_left and isinstance(errors[i], (*_BROKEN, *_TOO_LARGE))]
            for index in errors.keys() - set(pending):
                failure = translate(errors[index], f"publishing to {topic}")
                outcomes[index] = PublishFailure(index, failure)
            if not pending:
                break
            self._limits.pop(topic, None)
        _raise_if_unreachable(outcomes.values())
        return [outcomes[index] for index in range(len(messages))]

    async def close(self) -> None:
        """Deliver what is under way, then close. Idempotent."""
        async with self._lock:
            producer, self._current = self._current, None
        if producer:
            await _dispose(producer, self._delivery_timeout_s)
        if self._retired:
            await asyncio.wait(self._retired)

    async def _fitting(
        self,
        topic: str,
        messages: Sequence[OutgoingMessage],
        pending: Sequence[int],
        outcomes: dict[int, Outcome],
    ) -> list[int]:
        """Those of `pending` that the topic accepts; the others get their outcome."""
        limit = await self.limit(topic)
        fitting = []
        for index in pending:
            message = messages[index]
            framed = DefaultRecordBatchBuilder.estimate_size_in_bytes(
                message.key, message.value, list(message.headers)
            )
            if (size := payload_size(message)) <= limit and framed <= limit + RESERVE:
                fitting.append(index)
            else:
                error = MessageTooLarge(f"a message of {size} bytes; topic {topic} accepts {limit}")
                outcomes[index] = PublishFailure(index, error)
        if limit < self._batch_bytes:
            async with self._lock:
                self._batch_bytes = max(limit, 1)
                self._retire(self._current)
        return fitting

    async def _attempt(
        self,
        topic: str,
        messages: Sequence[OutgoingMessage],
        pending: Sequence[int],
        outcomes: dict[int, Outcome],
        deadline: float,
    ) -> dict[int, Exception]:
        """Send `pending` once; positions go to `outcomes`, errors come back."""
        errors: dict[int, Exception] = {}
        futures: dict[int, asyncio.Future[Any]] = {}
        try:
            async with asyncio.timeout_at(deadline):
                producer = await self._started()
        except (TimeoutError, kafka.KafkaError) as error:
            return dict.fromkeys(pending, error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                for index in pending:
                    try:
                        futures[index] = await _enqueue(producer, topic, messages[index])
                    except (kafka.KafkaError, PermanentError) as error:
                        errors[index] = error
                if futures:
                    await asyncio.wait(futures.values())
        for index in pending:
            if index in errors:
                continue
            future = futures.get(index)
            if future is None or not future.done():
                errors[index] = TimeoutError()
            elif failure := future.exception():
                errors[index] = failure if isinstance(failure, Exception) else kafka.KafkaError(repr(failure))
            else:
                sent = future.result()
                outcomes[index] = Position(sent.topic, sent.partition, sent.offset)
        if any(isinstance(e, (*_BROKEN, *_TOO_LARGE, TimeoutError)) for e in errors.values()):
            async with self._lock:
                self._retire(producer)
        return errors

    async def _started(self) -> AIOKafkaProducer:
        """The producer in use, connected; waits for a broker as long as it is let."""
        async with self._lock:
            while self._current is None:
                producer = AIOKafkaProducer(
                    **self._options, enable_idempotence=True, acks="all", max_batch_size=self._batch_bytes
                )
                try:
                    await producer.start()
                except kafka.KafkaConnectionError:
                    await producer.stop()
                    await asyncio.sleep(_BACKOFF_S)
                except BaseException:
                    await producer.stop()
                    raise
                else:
                    self._current = producer
            return self._current

    def _retire(self, producer: AIOKafkaProducer | None) -> None:
        """Let the next message start a new producer; `self._lock` is held."""
        if producer is None or self._current is not producer:
            return
        self._current = None
        task = asyncio.create_task(_dispose(producer, _RETIRE_PATIENCE_S))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)


async def _enqueue(producer: AIOKafkaProducer, topic: str, message: OutgoingMessage) -> asyncio.Future[Any]:
    if message.partition is not None and message.partition not in await producer.partitions_for(topic):
        raise PermanentError(f"topic {topic} has no partition {message.partition}")
    future: asyncio.Future[Any] = await producer.send(
        topic, message.value, message.key, message.partition, headers=list(message.headers)
    )
    # Whoever gave up on it must not be told again by the event loop.
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


def _raise_if_unreachable(outcomes: Iterable[Outcome]) -> None:
    unreachable = None
    for outcome in outcomes:
        if isinstance(outcome, Position):
            return
        if isinstance(outcome.error, BackendUnavailable):
            unreachable = outcome.error
    if unreachable:
        raise unreachable


async def _dispose(producer: AIOKafkaProducer, patience_s: float) -> None:
    """Close `producer`, after its batches under way, which other calls may wait for, had a moment."""
    try:
        async with asyncio.timeout(patience_s):
            await producer.stop()
        return
    except (TimeoutError, kafka.KafkaError) as error:
        logger.info("a producer is given up with messages under way: %s", type(error).__name__)
    # stop() waits for batches that idempotence retries for ever: end its parts one by one.
    sender = producer._sender  # noqa: SLF001 - aiokafka has no public way to give up
    for part in (sender.close, producer.client.close):
        with contextlib.suppress(TimeoutError, kafka.KafkaError, asyncio.CancelledError):
            async with asyncio.timeout(_RETIRE_PATIENCE_S):
                await part()
