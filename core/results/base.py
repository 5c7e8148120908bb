"""The port to a place where records go."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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

    def without(self, paths: Collection[str]) -> BatchResult:
        """The result without what it says of `paths`."""
        records = [record for record in self.records if record.identity.path not in paths]
        return BatchResult(self.request, records, [path for path in self.deleted if path not in paths])


class Overtaken(NamedTuple):
    """How many records and deletions a newer request had overtaken."""

    records: int = 0
    deletions: int = 0


class ResultSink(Protocol):
    """Takes records. Writing the same batch twice leaves the same state as once."""

    async def overtaken(self, request: IndexRequest, paths: Collection[str]) -> Collection[str]:
        """Those of `paths` of which a newer request has spoken; empty for a sink that cannot tell."""
        ...

    async def write(self, result: BatchResult) -> Overtaken:
        """Returns when the records are durable, with what was not written because it is out of date.

        Raises `RetryableError` where they cannot be written now.
        """
        ...

    async def close(self) -> None: ...
