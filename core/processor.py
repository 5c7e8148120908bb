"""One request, from message to durable results: decode, resolve, analyse, store, tell."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol, TypeVar
from uuid import uuid4

from core.budget import ByteBudget
from core.dead_letters import MESSAGE_LIMIT, DeadLetters
from core.errors import AnalysisFailed, ArchonError, InvalidEvent, RetryableError, Unexpected
from core.events.codec import decode_request, keep_files, to_json
from core.events.common import Source, Timestamped
from core.events.intelligence import FileIdentity
from core.events.outcome import (
    BatchCompleted,
    BatchFailed,
    FileFailure,
    IndexProjectCompleted,
    IndexProjectFailed,
)
from core.events.record import Analysis, FileRecord
from core.events.request import IndexRequest, RequestedFile
from core.events.topics import COMPLETED, FAILED
from core.fetchers.base import HEAD_BYTES, HELD_LIMIT, HELD_UNTOLD
from core.fetchers.resolver import Resolved, Resolver
from core.intelligence.base import FileToAnalyze
from core.log.base import EventLog, LogMessage, OutgoingMessage, PublishFailure
from core.progress import (
    BatchFinished,
    BatchReceived,
    DeadLettered,
    FileAnalyzed,
    FileFailed,
    Listener,
    SpanEnded,
    ignore,
)
from core.repository.conventions import is_test_path
from core.repository.languages import language_of
from core.results.base import BatchResult, ResultSink
from core.safety.display import display
from core.safety.redact import redact
from core.telemetry.log_context import logging_with
from core.telemetry.trace import Span, received, trace_headers

logger = logging.getLogger(__name__)

FAILURES_BYTES = 256 << 10
"""What an outcome's list of failures may take; a topic of Kafka's defaults accepts 1 MB."""

WORD_LIMIT = 100
"""Characters of a language's name; a record repeats it several times."""


Item = TypeVar("Item")
_Answer = tuple[int, FileRecord | ArchonError]


class Analyzer(Protocol):
    """Makes analyses; `core.intelligence.pool` implements it."""

    async def analyze_many(self, files: Sequence[FileToAnalyze]) -> Sequence[Analysis | AnalysisFailed]: ...


@dataclass(slots=True)
class BatchOutcome:
    """What became of one message's files. `indexed + failed + skipped` is their number."""

    indexed: int = 0
    failed: int = 0
    skipped: int = 0
    deleted: int = 0
    dead_lettered: int = 0
    by_source: Counter[str] = field(default_factory=Counter)
    fallbacks: Counter[str] = field(default_factory=Counter)


Backoff = Callable[[int], Awaitable[None]]


async def backoff(attempt: int) -> None:
    """Sleep before attempt `attempt + 1`: 0.2 s, doubling, at most 10 s."""
    await asyncio.sleep(min(10.0, 0.1 * 2**attempt))


class RequestProcessor:
    """Processes messages of the request topics. Every file ends as a result, a skip or a dead letter."""

    def __init__(
        self,
        log: EventLog,
        resolver: Resolver,
        analyzer: Analyzer,
        sinks: Sequence[ResultSink],
        dead_letters: DeadLetters,
        source: Source,
        *,
        listener: Listener = ignore,
        wait: Backoff = backoff,
        attempts: int | None = None,
        held_bytes: int = 64 << 20,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`attempts` bounds how often durable steps are tried; None is for ever, as a service must.

        `held_bytes` bounds the contents held at once, of all messages together.
        """
        self._log = log
        self._resolver = resolver
        self._analyzer = analyzer
        self._sinks = sinks
        self._dead_letters = dead_letters
        self._source = source
        self._tell = listener
        self._wait = wait
        self._attempts = attempts
        self._held_bytes = held_bytes
        self._budget = ByteBudget(held_bytes)
        self._clock = clock
        self.blocked: str | None = None

    async def process(self, message: LogMessage) -> BatchOutcome:
        """Returns when everything the message asked for is durable.

        Raises `RetryableError` only where a durable step failed `attempts` times: then its offset must
        not be committed.
        """
        started = self._clock()
        try:
            request = decode_request(message.value)
        except InvalidEvent as error:
            await self._bury(message, error, stage="decode", files=0)
            return BatchOutcome(dead_lettered=1)
        span = received(message.headers, request.trace_id, request.span_id)
        request = replace(request, trace_id=span.trace_id, span_id=span.span_id, sampled=span.sampled)
        with logging_with(correlation_id=request.correlation_id, trace_id=span.trace_id):
            return await self._index(message, request, started, span)

    async def _index(
        self, message: LogMessage, request: IndexRequest, started: float, span: Span
    ) -> BatchOutcome:
        self._tell(
            BatchReceived(
                message.topic, message.partition, message.offset, request.project_name, len(request.files)
            )
        )
        outcome = BatchOutcome(deleted=len(request.deleted_files))
        records, failures = await self._make_records(request, outcome)
        await self._durably(
            "results", lambda: self._store(BatchResult(request, records, request.deleted_files))
        )
        if failures:
            await self._bury_files(message, request, failures)
            outcome.dead_lettered += 1
        await self._durably("outcome", lambda: self._announce(message, request, outcome, failures, started))
        seconds = self._clock() - started
        for record in records:
            file = record.identity
            self._tell(
                FileAnalyzed(
                    file.project,
                    file.path,
                    file.size_bytes,
                    seconds,
                    file.content_source,
                    request.correlation_id,
                )
            )
        self._tell(
            BatchFinished(
                message.topic,
                message.partition,
                message.offset,
                outcome.indexed,
                outcome.failed,
                outcome.skipped,
                outcome.deleted,
                seconds,
            )
        )
        self._tell(
            SpanEnded(
                "process batch",
                "consumer",
                span.trace_id,
                span.span_id,
                span.parent_id,
                span.sampled,
                seconds,
                request.project_name,
                request.correlation_id,
                len(request.files),
                f"{outcome.failed} files failed" if outcome.failed else None,
            )
        )
        return outcome

    async def _make_records(
        self, request: IndexRequest, outcome: BatchOutcome
    ) -> tuple[list[FileRecord], dict[int, ArchonError]]:
        """Records, and the errors of the other files by their index in the request."""
        wanted = [
            (index, file)
            for index, file in enumerate(request.files)
            if request.include_tests or not is_test_path(file.relative_path)
        ]
        outcome.skipped = len(request.files) - len(wanted)
        records: dict[int, FileRecord] = {}
        failures: dict[int, ArchonError] = {}
        for group in _groups(wanted, self._held_bytes // 4, _held):
            for index, answer in await self._try_group(request, group, outcome):
                if isinstance(answer, ArchonError):
                    failures[index] = answer
                else:
                    records[index] = answer
        outcome.indexed = len(records)
        outcome.failed = len(failures)
        for index, error in failures.items():
            path = request.files[index].relative_path
            self._tell(
                FileFailed(
                    request.project_name, path, error.reason, redact(str(error)), request.correlation_id
                )
            )
        return [records[index] for index in sorted(records)], failures

    async def _try_group(
        self, request: IndexRequest, group: Sequence[tuple[int, RequestedFile]], outcome: BatchOutcome
    ) -> list[_Answer]:
        """As `_make_group`; a fault of ours costs these files, and must not come again with the message."""
        try:
            return await self._make_group(request, group, outcome)
        except (ArchonError, OSError):
            raise
        except Exception as error:
            logger.exception("processing %d files of %s failed", len(group), display(request.project_name))
            return [(index, Unexpected(f"{type(error).__name__}; see the agent's log")) for index, _ in group]

    async def _make_group(
        self, request: IndexRequest, group: Sequence[tuple[int, RequestedFile]], outcome: BatchOutcome
    ) -> list[_Answer]:
        """A record or an error for each of some files of a request, whose contents are held meanwhile.

        What the fetchers had to let go of is loaded in parts when it is its turn.
        """
        untold = any(file.size_bytes is None for _, file in group)
        async with self._budget.holding(sum(map(_held, group)) + (HELD_UNTOLD if untold else 0)):
            found = await self._resolver.resolve(request, [file for _, file in group])
            answers: list[_Answer] = []
            resolved: list[tuple[int, Resolved]] = []
            for (index, _), answer in zip(group, found, strict=True):
                if isinstance(answer, Resolved):
                    resolved.append((index, answer))
                else:
                    answers.append((index, answer.error))
            answers += await self._analyze(request, [got for got in resolved if not got[1].let_go], outcome)
        later = [got for got in resolved if got[1].let_go]
        del found, resolved
        for part in _groups(later, HELD_UNTOLD, lambda item: item[1].size):
            async with self._budget.holding(sum(got.size for _, got in part)):
                answers += await self._make_later(request, part, outcome)
        return answers

    async def _make_later(
        self, request: IndexRequest, part: Sequence[tuple[int, Resolved]], outcome: BatchOutcome
    ) -> list[_Answer]:
        answers: list[_Answer] = []
        loaded: list[tuple[int, Resolved]] = []
        for index, got in part:
            assert got.let_go  # noqa: S101 - that is what parts are made of
            try:
                loaded.append((index, replace(got, content=await got.let_go.load())))
            except ArchonError as error:
                answers.append((index, error))
        return answers + await self._analyze(request, loaded, outcome)

    async def _analyze(
        self, request: IndexRequest, resolved: Sequence[tuple[int, Resolved]], outcome: BatchOutcome
    ) -> list[_Answer]:
        answers: list[_Answer] = []
        analyses = await self._analyzer.analyze_many([_to_analyze(got) for _, got in resolved])
        now = datetime.now(UTC)
        for (index, got), analysis in zip(resolved, analyses, strict=True):
            if isinstance(analysis, AnalysisFailed):
                answers.append((index, analysis))
                continue
            outcome.by_source[got.source] += 1
            if got.fallback:
                outcome.fallbacks[got.fallback] += 1
            answers.append((index, _record(request, got, analysis, now)))
        return answers

    async def _store(self, result: BatchResult) -> None:
        for sink in self._sinks:
            await sink.write(result)

    async def _bury_files(
        self, message: LogMessage, request: IndexRequest, failures: dict[int, ArchonError]
    ) -> None:
        """Dead-letter an event of just the failed files; the rest of the batch counts."""
        indexes = sorted(failures)
        whole = len(indexes) == len(request.files) and not request.deleted_files
        value = None if whole else keep_files(message.value or b"", indexes)
        error = failures[indexes[0]]
        stage = "analyze" if isinstance(error, AnalysisFailed) else "resolve"
        await self._bury(message, error, stage=stage, files=len(indexes), value=value)

    async def _bury(
        self, message: LogMessage, error: ArchonError, *, stage: str, files: int, value: bytes | None = None
    ) -> None:
        await self._durably(
            "dead letter", lambda: self._dead_letters.put(message, error, stage=stage, value=value)
        )
        text = redact(str(error))
        self._tell(DeadLettered(message.topic, message.partition, message.offset, files, error.reason, text))
        logger.warning("dead-lettered %s/%s/%s: %s", message.topic, message.partition, message.offset, text)

    async def _durably(self, what: str, step: Callable[[], Awaitable[None]]) -> None:
        """Repeat a step that must not be lost until it succeeds; `blocked` says so meanwhile."""
        attempt = 0
        while True:
            try:
                await step()
            except RetryableError as error:
                attempt += 1
                self.blocked = f"{what}: {redact(str(error))}"
                if self._attempts is not None and attempt >= self._attempts:
                    raise
                logger.warning("%s cannot be written, attempt %d: %s", what, attempt, self.blocked)
                await self._wait(attempt)
            else:
                self.blocked = None
                return

    async def _announce(
        self,
        message: LogMessage,
        request: IndexRequest,
        outcome: BatchOutcome,
        failures: dict[int, ArchonError],
        started: float,
    ) -> None:
        """Publish the completed event, or the failed one where nothing came of the batch."""
        told = _told(request, failures)
        event: Timestamped
        if failures and not (outcome.indexed or outcome.skipped or outcome.deleted):
            first = next(iter(failures.values()))
            event = IndexProjectFailed(
                **self._envelope(request, FAILED),
                payload=BatchFailed(
                    project_name=request.project_name,
                    batch_id=request.batch_id,
                    error_code=first.reason,
                    error_message=redact(str(first)),
                    files_failed=outcome.failed,
                    retry_allowed=isinstance(first, RetryableError),
                    failures=told,
                ),
            )
        else:
            event = IndexProjectCompleted(
                **self._envelope(request, COMPLETED),
                payload=BatchCompleted(
                    project_name=request.project_name,
                    batch_id=request.batch_id,
                    files_discovered=len(request.files),
                    files_indexed=outcome.indexed,
                    files_failed=outcome.failed,
                    files_skipped=outcome.skipped,
                    files_deleted=outcome.deleted,
                    processing_time_ms=round((self._clock() - started) * 1000),
                    by_source=dict(outcome.by_source),
                    failures=told,
                ),
            )
        headers = trace_headers(request.trace_id, request.span_id, sampled=request.sampled)
        outgoing = OutgoingMessage(message.key, to_json(event), headers)
        (answer,) = await self._log.publish(event.event_type, [outgoing])
        if isinstance(answer, PublishFailure):
            raise RetryableError(f"{event.event_type} refuses the outcome: {answer.error}")

    def _envelope(self, request: IndexRequest, kind: str) -> dict[str, object]:
        return {
            "event_id": str(uuid4()),
            "event_type": kind,
            "correlation_id": request.correlation_id,
            "causation_id": request.event_id,
            "timestamp": datetime.now(UTC),
            "source": self._source,
        }


def _told(request: IndexRequest, failures: dict[int, ArchonError]) -> tuple[FileFailure, ...]:
    """The first failures, as many as any topic has room for."""
    told: list[FileFailure] = []
    room = FAILURES_BYTES
    for index, error in sorted(failures.items()):
        path, message = request.files[index].relative_path, redact(str(error))[:MESSAGE_LIMIT]
        failure = FileFailure(path=path, reason=error.reason, message=message)
        room -= len(to_json(failure))
        if room < 0:
            break
        told.append(failure)
    return tuple(told)


def _held(item: tuple[int, RequestedFile]) -> int:
    """Bytes that a file's content takes while it is analysed, as far as the event tells."""
    size = item[1].size_bytes or 0
    return size if size <= HELD_LIMIT else HEAD_BYTES


def _groups(items: Sequence[Item], limit: int, size_of: Callable[[Item], int]) -> Iterator[list[Item]]:
    """The items in order, in groups of at most `limit` bytes held, or of one item."""
    group: list[Item] = []
    held = 0
    for item in items:
        size = size_of(item)
        if group and held + size > limit:
            yield group
            group, held = [], 0
        group.append(item)
        held += size
    if group:
        yield group


def _to_analyze(got: Resolved) -> FileToAnalyze:
    return FileToAnalyze(got.file.relative_path, got.content, _language(got), got.size)


def _language(got: Resolved) -> str | None:
    """The event's word, where it is one; v1 events have none."""
    word = got.file.language
    return word if word and len(word) <= WORD_LIMIT else language_of(got.file.relative_path, got.content)


def _record(request: IndexRequest, got: Resolved, analysis: Analysis, now: datetime) -> FileRecord:
    identity = FileIdentity(
        project=request.project_name,
        path=got.file.relative_path,
        checksum=got.checksum,
        checksum_verified=got.verified,
        size_bytes=got.size,
        content_source=got.source.value,
        correlation_id=request.correlation_id,
        generated_at=now,
        delivery=got.delivery,
    )
    return FileRecord(identity, analysis)
