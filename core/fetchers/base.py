"""The port of a fetcher: get the bytes of an event's files from one kind of source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from core.errors import ArchonError
from core.events.request import Carrier, IndexRequest, RequestedFile


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file's bytes, not yet verified against the event. `cache_hit` is None where there is no cache."""

    content: bytes
    cache_hit: bool | None = None
    attempts: int = 1
    wire_bytes: int = 0


class Fetcher(Protocol):
    """Fetches what one kind of carrier holds."""

    carrier: Carrier

    def refuses(self, request: IndexRequest, file: RequestedFile) -> str | None:
        """Why this source cannot have the file, in words; None if it can be asked."""
        ...

    async def fetch_many(
        self, request: IndexRequest, files: Sequence[RequestedFile]
    ) -> Sequence[Fetched | ArchonError]:
        """One answer per file, in order; a file's error never costs its neighbours.

        Retries inside, up to the configured attempts and deadline; a `RetryableError` in the answer
        means those are used up.
        """
        ...

    async def close(self) -> None: ...
