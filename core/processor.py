"""One request, from message to durable results: decode, make records, store them, tell what became of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from core.dead_letters import DeadLetters
from core.durable_steps import Backoff, DurableSteps, backoff
from core.errors import AnalysisFailed, ArchonError, InvalidEvent, RetryableError
from core.events.codec import decode_request, keep_files
from core.events.common import Source
from core.events.record import FileRecord
from core.events.request import IndexRequest
from core.fetchers.resolver import Resolver
from core.in_order import InOrder, Turn
from core.log.base import EventLog, LogMessage, PublishFailure
from core.outcome_events import BatchOutcome, outcome_message
from core.progress import (
    BatchAbandoned,
    BatchFinished,
    BatchReceived,
    DeadLettered,
    FileAnalyzed,
    FileFailed,
    Listener,
    SpanEnded,
    ignore,
)
from core.record_maker import Analyzer, RecordMaker
from core.repository.conventions import is_test_path
from core.results.base import BatchResult, Overtaken, ResultSink
from core.safety.redact import redact
from core.superseding import paths_of, position_of, superseded
from core.telemetry.log_context import logging_with
from core.telemetry.trace import Span, received

logger = logging.getLogger(__name__)


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
        held_files: int = 512,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`attempts` bounds how often durable steps are tried; None is for ever, as a service must.

        `held_bytes` bounds the contents held at once, `held_files` the files at work at once, of all messages
        together.
        """
        self._log = log
        self._records = RecordMaker(resolver, analyzer, held_bytes=held_bytes, held_files=held_files)
        self._sinks = sinks
        self._dead_letters = dead_letters
        self._source = source
        self._tell = listener
        self._steps = DurableSteps(attempts=attempts, wait=wait)
        self._in_order = InOrder()
        self._clock = clock

    @property
    def blocked(self) -> str | None:
        """What cannot be written now and why; None where nothing is stuck."""
        return self._steps.blocked

    async def process(self, message: LogMessage) -> BatchOutcome:
        """Returns when everything the message asked for is durable.

        Messages may be processed side by side: what they write for one project of one partition is written
        in the order in which `process` was called. Raises `RetryableError` only where a durable step failed
        `attempts` times: then the message's offset must not be committed.
        """
        started = self._clock()
        try:
            request = decode_request(message.value)
        except InvalidEvent as error:
            await self._dead_letter(message, error, stage="decode", files=0)
            return BatchOutcome(dead_lettered=1)
        turn = self._in_order.enter((message.where, request.project_name))
        span = received(message.headers, request.trace_id, request.span_id)
        request = replace(
            request,
            trace_id=span.trace_id,
            span_id=span.span_id,
            sampled=span.sampled,
            position=position_of(message, request),
        )
        try:
            with logging_with(correlation_id=request.correlation_id, trace_id=span.trace_id):
                return await self._index(message, request, turn, started, span)
        except BaseException:
            self._tell(BatchAbandoned(message.topic, message.partition, message.offset))
            raise
        finally:
            turn.end()

    async def _index(
        self, message: LogMessage, request: IndexRequest, turn: Turn, started: float, span: Span
    ) -> BatchOutcome:
        self._tell(
            BatchReceived(
                message.topic, message.partition, message.offset, request.project_name, len(request.files)
            )
        )
        overtaken: Collection[str] = ()

        async def look_for_newer() -> None:
            nonlocal overtaken
            overtaken = await superseded(self._log, self._dead_letters.group, message, request)

        await self._steps.run("search for newer requests", look_for_newer)
        deleted = [path for path in request.deleted_files if path not in overtaken]
        wanted = [
            (index, file)
            for index, file in enumerate(request.files)
            if (request.include_tests or not is_test_path(file.relative_path))
            and file.relative_path not in overtaken
        ]
        outcome = BatchOutcome(
            deleted=len(deleted),
            skipped=len(request.files) - len(wanted),
            superseded=sum(file.relative_path in overtaken for file in request.files),
            superseded_deletions=len(request.deleted_files) - len(deleted),
        )
        made: dict[int, FileRecord] = {}
        failures: dict[int, ArchonError] = {}

        async def make() -> None:
            nonlocal made, failures
            counted = BatchOutcome()
            made, failures = await self._records.make(request, wanted, counted)
            outcome.by_source, outcome.fallbacks = counted.by_source, counted.fallbacks

        await self._steps.run("content", make)
        records: Sequence[FileRecord] = [made[index] for index in sorted(made)]
        outcome.indexed, outcome.failed = len(records), len(failures)
        async with turn.taken():
            result = BatchResult(request, records, deleted)
            records = await self._commit(message, request, result, outcome, failures)
            seconds = self._clock() - started
            await self._steps.run(
                "outcome", lambda: self._announce(message, request, outcome, failures, seconds)
            )
        self._tell_finished(message, request, records, outcome, started, span)
        return outcome

    async def _commit(
        self,
        message: LogMessage,
        request: IndexRequest,
        result: BatchResult,
        outcome: BatchOutcome,
        failures: dict[int, ArchonError],
    ) -> Sequence[FileRecord]:
        """Make the results durable, and dead-letter an event of just the failed files.

        What newer requests have overtaken goes to no sink, is taken out of `failures`, and is counted.
        Returns the records that were written.
        """
        fresh, lost = result, Overtaken()

        async def store() -> None:
            nonlocal fresh, lost
            late: set[str] = set()
            for sink in self._sinks:
                late.update(await sink.overtaken(request, paths_of(request)))
            fresh = result.without(late)
            lost = max([await sink.write(fresh) for sink in self._sinks], default=Overtaken())
            for index in [index for index in failures if request.files[index].relative_path in late]:
                del failures[index]

        await self._steps.run("results", store)
        outcome.overtake(len(result.records) - len(fresh.records), len(result.deleted) - len(fresh.deleted))
        outcome.overtake(*lost)
        outcome.forgive(outcome.failed - len(failures))
        self._tell_failures(request, failures)
        if failures:
            await self._bury_files(message, request, outcome, failures)
        return fresh.records

    async def _bury_files(
        self,
        message: LogMessage,
        request: IndexRequest,
        outcome: BatchOutcome,
        failures: dict[int, ArchonError],
    ) -> None:
        """Dead-letter an event of just the failed files."""
        indexes = sorted(failures)
        whole = len(indexes) == len(request.files) and not request.deleted_files
        value = None if whole else keep_files(message.value or b"", indexes)
        error = failures[indexes[0]]
        stage = "analyze" if isinstance(error, AnalysisFailed) else "resolve"
        await self._dead_letter(message, error, stage=stage, files=len(indexes), value=value)
        outcome.dead_lettered += 1

    async def _dead_letter(
        self, message: LogMessage, error: ArchonError, *, stage: str, files: int, value: bytes | None = None
    ) -> None:
        await self._steps.run(
            "dead letter", lambda: self._dead_letters.put(message, error, stage=stage, value=value)
        )
        text = redact(str(error))
        self._tell(DeadLettered(message.topic, message.partition, message.offset, files, error.reason, text))
        logger.warning("dead-lettered %s/%s/%s: %s", message.topic, message.partition, message.offset, text)

    async def _announce(
        self,
        message: LogMessage,
        request: IndexRequest,
        outcome: BatchOutcome,
        failures: dict[int, ArchonError],
        seconds: float,
    ) -> None:
        topic, event = outcome_message(
            request, outcome, failures, key=message.key, source=self._source, seconds=seconds
        )
        (answer,) = await self._log.publish(topic, [event])
        if isinstance(answer, PublishFailure):
            raise RetryableError(f"{topic} refuses the outcome: {answer.error}")

    def _tell_failures(self, request: IndexRequest, failures: dict[int, ArchonError]) -> None:
        for index, error in failures.items():
            path = request.files[index].relative_path
            self._tell(
                FileFailed(
                    request.project_name, path, error.reason, redact(str(error)), request.correlation_id
                )
            )

    def _tell_finished(
        self,
        message: LogMessage,
        request: IndexRequest,
        records: Sequence[FileRecord],
        outcome: BatchOutcome,
        started: float,
        span: Span,
    ) -> None:
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
                outcome.superseded,
                outcome.superseded_deletions,
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
