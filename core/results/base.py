"""The port to a place where records go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from core.events.record import FileRecord
from core.events.request import IndexRequest


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What one request yielded: records to put, paths to forget; both ordered by the request's timestamp."""

    request: IndexRequest
    records: Sequence[FileRecord]
    deleted: Sequence[str]


class ResultSink(Protocol):
    """Takes records. Writing the same batch twice leaves the same state as once."""

    async def write(self, result: BatchResult) -> None:
        """Returns when the records are durable. Raises `RetryableError` where they cannot be written now."""
        ...

    async def close(self) -> None: ...
