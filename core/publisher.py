"""Plan -> batches -> log, and the summary of what became of every file."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from core.batches import Batch, BatchesByPartition, PackedFile, request_key
from core.breaker import Breakers
from core.deletions import NO_LIMIT, DeletionLimit, Recorded, deletions
from core.errors import ArchonError, MessageTooLarge
from core.events.codec import encode_request, to_json
from core.events.common import AnyText, ContentStrategy, Source
from core.events.topics import REQUESTED_V2
from core.events.v2 import MetadataV2, ModelEventIndexProjectRequestedV2, PayloadV2
from core.fallbacks import INFEASIBLE
from core.history.selection import said_of_choice
from core.log.base import EventLog, OutgoingMessage, PublishFailure
from core.log.partitioner import partition_of
from core.packing import Packer
from core.planner import PlanItem, PlannedFile, Unchanged
from core.progress import (
    BatchPublished,
    BatchRefused,
    FilesDeleted,
    FilesPublished,
    FilesScanned,
    FilesUnchanged,
    Listener,
    SpanEnded,
    ignore,
)
from core.repository.facts import FileFacts, Skip
from core.safety.redact import redact
from core.strategies.base import PublishContext, Strategy
from core.summary import IngestSummary
from core.telemetry.log_context import logging_with
from core.telemetry.trace import Span, process_span

BATCHES_IN_FLIGHT = 4
# Room in a message for its key, headers and the log's own framing, in bytes.
MESSAGE_OVERHEAD = 1024


class Manifest(Recorded, Protocol):
    """What of a project the log has acknowledged."""

    def record(self, files: Sequence[tuple[FileFacts, str | None]]) -> None:
        """These files are published, with these checksums."""
        ...

    def forget(self, paths: Sequence[str]) -> None:
        """These deletions are published."""
        ...

    def newest(self) -> datetime | None:
        """The time of the newest event that was published before this run."""
        ...

    def acknowledged(self, at: datetime) -> None:
        """An event of this time is published."""
        ...


Observer = Callable[[Sequence[PackedFile], float], None]


@dataclass(frozen=True, slots=True)
class PublishRules:
    """Limits and flags of a run. Sizes are bytes of the encoded message."""

    source: Source
    batch_size: int = 100
    max_batch_bytes: int = 5 << 20
    topic: str = REQUESTED_V2
    project_path: AnyText | None = None
    default_strategy: ContentStrategy = ContentStrategy.INLINE
    include_tests: bool = True
    force_reindex: bool = False
    selector: str = "rules"
    selector_model: str | None = None
    partitions: int | None = None
    """Partitions of `topic`; None asks the log."""


class Publisher:
    """Publishes one repository's plan."""

    def __init__(
        self,
        log: EventLog,
        context: PublishContext,
        strategies: Sequence[Strategy],
        rules: PublishRules,
        manifest: Manifest | None = None,
        listener: Listener = ignore,
        clock: Callable[[], float] = time.perf_counter,
        correlation_id: str | None = None,
        span: Span | None = None,
        breakers: Breakers | None = None,
        observe: Observer = lambda _files, _seconds: None,
        limit: DeletionLimit = NO_LIMIT,
    ) -> None:
        """`correlation_id` is carried by every event of this run; by default a fresh one.

        `observe` sees every batch that the log acknowledged, and the seconds from its sending to that.
        """
        self._log = log
        self._context = context
        self._rules = rules
        self._manifest = manifest
        self._tell = listener
        self._clock = clock
        self._correlation_id = correlation_id or str(uuid.uuid4())
        self._span = span or process_span()
        self._observe = observe
        self._limit = limit
        self._payload: dict[str, Any] = {}
        self._batch_ids = 0
        self._summary = IngestSummary(context.project_name)
        breakers = breakers or Breakers("publisher", listener=listener)
        self._packer = Packer(strategies, context, self._summary, breakers, listener, clock)
        self._in_flight: set[asyncio.Task[None]] = set()
        self._partitions = 1
        self._batches = BatchesByPartition(context.project_name, 1, rules.batch_size, 0)
        self._failure: ArchonError | None = None
        self._newest = (manifest and manifest.newest()) or datetime.min.replace(tzinfo=UTC)

    @property
    def correlation_id(self) -> str:
        """Carried by every event of this run."""
        return self._correlation_id

    async def publish(
        self, plan: AsyncIterator[list[PlanItem]], *, stop: asyncio.Event | None = None
    ) -> IngestSummary:
        """Publish the plan; every file ends published, unchanged, skipped or (log refused) unpublished.

        After `stop` is set nothing more is read; what is in flight is awaited. A strategy whose backend
        cannot be reached at the start is not used. Raises `ConfigurationError` from its preparation.
        """
        with logging_with(correlation_id=self._correlation_id, trace_id=self._span.trace_id):
            try:
                return await self._run(plan, stop)
            finally:
                for task in self._in_flight:
                    task.cancel()
                await asyncio.gather(*self._in_flight, return_exceptions=True)

    async def _run(self, plan: AsyncIterator[list[PlanItem]], stop: asyncio.Event | None) -> IngestSummary:
        started = self._clock()
        self._payload = await self._packer.prepare()
        self._partitions = self._rules.partitions or await self._log.partitions(self._rules.topic)
        self._batches = BatchesByPartition(
            self._context.project_name, self._partitions, self._rules.batch_size, self._room()
        )
        async with aclosing(plan) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                if self._failure or (stop and stop.is_set()):
                    break
                await self._take(chunk)
        if stop and stop.is_set():
            self._summary.interrupted = True
        for last in self._batches.flush():
            if self._failure:
                self._unpublished(last, str(self._failure))
            elif self._summary.interrupted:
                self._unpublished(last, "interrupted")
            else:
                await self._start(last)
        await asyncio.gather(*self._in_flight)
        if not self._failure and not self._summary.interrupted:
            await self._publish_deletions()
        self._summary.duration_s = self._clock() - started
        self._end(self._span, "ingest", "internal", started, self._summary.files_published, self._failure)
        return self._summary

    def _room(self) -> int:
        """Bytes that a message has for files."""
        return (
            self._rules.max_batch_bytes
            - len(encode_request(self._event((), (), self._span), ()))
            - MESSAGE_OVERHEAD
        )

    async def _take(self, chunk: list[PlanItem]) -> None:
        planned: list[PlannedFile] = []
        unchanged = 0
        for item in chunk:
            if isinstance(item, Skip):
                self._packer.skip(item)
            elif isinstance(item, Unchanged):
                unchanged += 1
            else:
                planned.append(item)
                if wished := item.choices[0].instead_of:
                    self._packer.fall_back(wished, item.strategy, INFEASIBLE, item.why)
        self._summary.files_discovered += len(chunk)
        self._summary.files_unchanged += unchanged
        scanned = sum(item.facts.size for item in planned)
        self._tell(FilesScanned(len(chunk), scanned))
        if unchanged:
            self._tell(FilesUnchanged(unchanged))
        for packed in await self._packer.pack_all(planned):
            for batch in self._batches.add(packed):
                await self._start(batch)

    async def _start(self, batch: Batch) -> None:
        """Send a batch beside at most `BATCHES_IN_FLIGHT - 1` others."""
        while len(self._in_flight) >= BATCHES_IN_FLIGHT:
            done, self._in_flight = await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(*done)
        self._in_flight.add(asyncio.create_task(self._send(batch)))

    async def _send(self, batch: Batch) -> None:
        started = self._clock()
        self._batch_ids += 1
        batch_id = self._batch_ids
        span = self._span.child()
        event = self._event(batch.files, (), span)
        value = encode_request(event, batch.encoded)
        error = await self._publish(batch.files[0].facts.path, event, value, span)
        self._end(span, "publish batch", "producer", started, len(batch.files), error)
        if isinstance(error, MessageTooLarge):
            await self._resend(batch, error)
        elif error:
            self._unpublished(batch, str(error), batch_id)
        else:
            self._acknowledged(batch, len(value), self._clock() - started, batch_id)

    async def _publish(
        self, path: str, event: ModelEventIndexProjectRequestedV2, value: bytes, span: Span
    ) -> Exception | None:
        """Send an event to the partition of `path`, one of its paths. The error, where it did not arrive."""
        message = OutgoingMessage(
            key=request_key(self._context.project_name, path),
            value=value,
            headers=(
                ("correlation_id", self._correlation_id.encode()),
                ("event_type", event.event_type.encode()),
                span.header,
            ),
        )
        try:
            (answer,) = await self._log.publish(self._rules.topic, [message])
        except ArchonError as error:
            self._failure = self._failure or error
            return error
        return answer.error if isinstance(answer, PublishFailure) else None

    async def _resend(self, batch: Batch, error: MessageTooLarge) -> None:
        """The log accepts less than it said: split, and upgrade a single file that is too large alone."""
        if len(batch.files) > 1:
            for half in batch.halves():
                await self._send(half)
        elif packed := await self._packer.upgrade(batch.files[0], error):
            await self._send(Batch.of([packed]))

    def _acknowledged(self, batch: Batch, encoded_bytes: int, seconds: float, batch_id: int) -> None:
        self._summary.add_batch(batch, encoded_bytes)
        self._observe(batch.files, seconds)
        if self._manifest:
            self._manifest.record([(file.facts, file.checksum) for file in batch.files])
            self._manifest.acknowledged(self._newest)
        self._tell(BatchPublished(batch_id, len(batch.files), batch.raw_bytes, encoded_bytes, seconds))
        project = self._context.project_name
        for strategy in {file.strategy for file in batch.files}:
            share = [file for file in batch.files if file.strategy is strategy]
            raw = sum(file.facts.size for file in share)
            encoded = sum(file.encoded_size for file in share)
            self._tell(
                FilesPublished(project, self._correlation_id, strategy, len(share), raw, encoded, seconds)
            )

    def _unpublished(self, batch: Batch, message: str, batch_id: int = 0) -> None:
        self._summary.files_unpublished += len(batch.files)
        self._summary.refusal = self._summary.refusal or message
        self._tell(BatchRefused(batch_id, len(batch.files), message))

    async def _publish_deletions(self) -> None:
        by_partition: dict[int, list[str]] = defaultdict(list)
        gone: Sequence[str] = ()
        if self._manifest:
            gone, self._summary.files_stale = deletions(self._manifest, self._summary.skipped, self._limit)
        for path in gone:
            key = request_key(self._context.project_name, path)
            by_partition[partition_of(key, self._partitions)].append(path)
        step = self._rules.batch_size * 10
        for missing in by_partition.values():
            for start in range(0, len(missing), step):
                if not await self._delete(missing[start : start + step]):
                    return

    async def _delete(self, paths: Sequence[str]) -> bool:
        """Publish deletions, in halves where they are too large for one message; whether all went."""
        self._batch_ids += 1
        span, started = self._span.child(), self._clock()
        event = self._event((), paths, span)
        value = to_json(event)
        error: Exception | None = MessageTooLarge(f"{len(value):,} B of deletions")
        if len(value) <= self._rules.max_batch_bytes - MESSAGE_OVERHEAD:
            error = await self._publish(paths[0], event, value, span)
        if isinstance(error, MessageTooLarge) and len(paths) > 1:
            middle = len(paths) // 2
            return await self._delete(paths[:middle]) and await self._delete(paths[middle:])
        self._end(span, "publish deletions", "producer", started, len(paths), error)
        if error:
            self._summary.refusal = self._summary.refusal or str(error)
            return False
        assert self._manifest  # noqa: S101 - paths come from it
        self._manifest.forget(paths)
        self._manifest.acknowledged(self._newest)
        self._summary.batches += 1
        self._summary.files_deleted += len(paths)
        self._tell(FilesDeleted(len(paths)))
        return True

    def _end(
        self, span: Span, name: str, kind: str, started: float, files: int, error: Exception | None = None
    ) -> None:
        self._tell(
            SpanEnded(
                name,
                kind,
                span.trace_id,
                span.span_id,
                span.parent_id,
                span.sampled,
                self._clock() - started,
                self._context.project_name,
                self._correlation_id,
                files,
                redact(str(error)) if error else None,
            )
        )

    def _moment(self) -> datetime:
        """Now, or where the clock went back just after the newest event: the newest decides a path."""
        self._newest = max(utc_now(), self._newest + timedelta(microseconds=1))
        return self._newest

    def _event(
        self, files: Sequence[PackedFile], deleted: Sequence[str], span: Span
    ) -> ModelEventIndexProjectRequestedV2:
        rules = self._rules
        strategies = Counter(file.strategy for file in files)
        strategy = strategies.most_common(1)[0][0] if strategies else rules.default_strategy
        return ModelEventIndexProjectRequestedV2(
            event_id=str(uuid.uuid4()),
            event_type=rules.topic,
            correlation_id=self._correlation_id,
            timestamp=self._moment(),
            source=rules.source,
            metadata=MetadataV2(
                batch_id=self._batch_ids,
                batch_size=len(files),
                content_strategy=strategy,
                total_content_size_bytes=sum(file.facts.size for file in files),
                trace_id=span.trace_id,
                span_id=span.span_id,
                extra=said_of_choice(files, rules.selector, rules.selector_model),
            ),
            payload=PayloadV2(
                project_name=self._context.project_name,
                project_path=rules.project_path,
                content_strategy=strategy,
                deleted_files=tuple(deleted),
                include_tests=rules.include_tests,
                force_reindex=rules.force_reindex,
                **self._payload,
            ),
        )


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)
