"""What became of a batch: the completed and failed events."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.events.common import AnyText, Timestamped, Wire


class FileFailure(Wire):
    """A file that yielded no record, and why."""

    path: AnyText
    reason: str
    message: str


class BatchCompleted(Wire):
    """Counts of one batch; `files_indexed` counts records, durations are milliseconds.

    `files_superseded` counts those of `files_skipped` that a newer request had overtaken.

    `failures` are the first 256 KiB of them, the counts are of all.
    """

    project_name: str
    batch_id: str
    files_discovered: int
    files_indexed: int
    files_failed: int
    files_skipped: int
    files_deleted: int
    processing_time_ms: int
    by_source: dict[str, int] = Field(default_factory=dict)
    failures: tuple[FileFailure, ...] = ()
    files_superseded: int = 0


class BatchFailed(Wire):
    """A batch none of whose files could be processed; `failures` as in `BatchCompleted`."""

    project_name: str
    batch_id: str
    error_code: str
    error_message: str
    files_failed: int
    retry_allowed: bool
    failures: tuple[FileFailure, ...] = ()


class IndexProjectCompleted(Timestamped):
    """Published once per batch that yielded at least one result or deletion."""

    schema_version: Literal["1.0.0"] = "1.0.0"
    payload: BatchCompleted


class IndexProjectFailed(Timestamped):
    """Published once per batch that yielded nothing."""

    schema_version: Literal["1.0.0"] = "1.0.0"
    payload: BatchFailed
