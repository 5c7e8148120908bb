"""What became of a request, as the event that its publisher reads: pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

from core.dead_letters import MESSAGE_LIMIT
from core.errors import ArchonError, RetryableError
from core.events.codec import to_json
from core.events.common import Source
from core.events.outcome import (
    BatchCompleted,
    BatchFailed,
    FileFailure,
    IndexProjectCompleted,
    IndexProjectFailed,
)
from core.events.request import IndexRequest
from core.events.topics import COMPLETED, FAILED
from core.log.base import OutgoingMessage
from core.safety.redact import redact
from core.telemetry.trace import trace_headers

FAILURES_BYTES = 256 << 10
"""What an outcome's list of failures may take; a topic of Kafka's defaults accepts 1 MB."""

KEY_BYTES = 1024
"""The longest key of a request that its outcome repeats: a stranger chose it, and it must fit."""


@dataclass(slots=True)
class BatchOutcome:
    """What became of one message's files. `indexed + failed + skipped` is their number.

    `superseded` counts those of the skipped that a newer request had overtaken, `superseded_deletions` the
    paths that were not deleted for that reason.
    """

    indexed: int = 0
    failed: int = 0
    skipped: int = 0
    superseded: int = 0
    deleted: int = 0
    superseded_deletions: int = 0
    dead_lettered: int = 0
    by_source: Counter[str] = field(default_factory=Counter)
    fallbacks: Counter[str] = field(default_factory=Counter)

    def overtake(self, records: int, deletions: int) -> None:
        """Count what a store left out because a newer request had spoken of the paths."""
        self.indexed -= records
        self.skipped += records
        self.deleted -= deletions
        self.superseded += records
        self.superseded_deletions += deletions

    def forgive(self, failed: int) -> None:
        """Count failed files that a newer request had overtaken as skipped."""
        self.failed -= failed
        self.skipped += failed
        self.superseded += failed


def outcome_message(
    request: IndexRequest,
    outcome: BatchOutcome,
    failures: Mapping[int, ArchonError],
    *,
    key: bytes | None,
    source: Source,
    seconds: float,
) -> tuple[str, OutgoingMessage]:
    """The topic and message of the completed event, or of the failed one where nothing came of the batch."""
    told = _told(request, failures)
    if failures and not (outcome.indexed or outcome.skipped or outcome.deleted):
        first = next(iter(failures.values()))
        failed = IndexProjectFailed(
            **_envelope(request, FAILED, source),
            payload=BatchFailed(
                project_name=request.project_name,
                batch_id=request.batch_id,
                error_code=first.reason,
                error_message=redact(str(first))[:MESSAGE_LIMIT],
                files_failed=outcome.failed,
                retry_allowed=isinstance(first, RetryableError),
                failures=told,
            ),
        )
        return FAILED, _message(request, key, to_json(failed))
    completed = IndexProjectCompleted(
        **_envelope(request, COMPLETED, source),
        payload=BatchCompleted(
            project_name=request.project_name,
            batch_id=request.batch_id,
            files_discovered=len(request.files),
            files_indexed=outcome.indexed,
            files_failed=outcome.failed,
            files_skipped=outcome.skipped,
            files_superseded=outcome.superseded,
            files_deleted=outcome.deleted,
            processing_time_ms=round(seconds * 1000),
            by_source=dict(outcome.by_source),
            failures=told,
        ),
    )
    return COMPLETED, _message(request, key, to_json(completed))


def _message(request: IndexRequest, key: bytes | None, value: bytes) -> OutgoingMessage:
    headers = trace_headers(request.trace_id, request.span_id, sampled=request.sampled)
    return OutgoingMessage(key if key is None or len(key) <= KEY_BYTES else None, value, headers)


def _envelope(request: IndexRequest, kind: str, source: Source) -> dict[str, object]:
    return {
        "event_id": str(uuid4()),
        "event_type": kind,
        "correlation_id": request.correlation_id,
        "causation_id": request.event_id,
        "timestamp": datetime.now(UTC),
        "source": source,
    }


def _told(request: IndexRequest, failures: Mapping[int, ArchonError]) -> tuple[FileFailure, ...]:
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
