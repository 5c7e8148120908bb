"""The port to a place where records go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from core.events.record import FileRecord
from core.events.request import IndexRequest


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What one request yielded: records to put, paths to forget; `request.position` orders both."""

    request: IndexRequest
    records: Sequence[FileRecord]
    deleted: Sequence[str]


class Overtaken(NamedTuple):
    """How many records and deletions a newer request had overtaken."""

    records: int = 0
    deletions: int = 0


class ResultSink(Protocol):
    """Takes records. Writing the same batch twice leaves the same state as once."""

    async def write(self, result: BatchResult) -> Overtaken:
        """Returns when the records are durable, with what was not written because it is out of date.

        Raises `RetryableError` where they cannot be written now.
        """
        ...

    async def close(self) -> None: ...
