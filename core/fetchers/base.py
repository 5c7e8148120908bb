"""The port of a fetcher: get the bytes of an event's files from one kind of source."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from core.errors import ArchonError
from core.events.request import Carrier, IndexRequest, RequestedFile

HELD_LIMIT: Final = 8 << 20
"""Bytes; a larger file is handed on as a `StoredFile`, so that memory does not grow with it."""

HEAD_BYTES: Final = 1 << 20
"""Bytes of a larger file that are held all the same, for whoever is content with its beginning."""


HELD_UNTOLD: Final = 2 << 20
"""Bytes; of files whose sizes no event tells, a fetcher holds no more at once: the rest is `LetGo`."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """Proven bytes that were not kept, because those of their neighbours were too many.

    `load` gives them again (their first `HEAD_BYTES` where they are over `HELD_LIMIT`), and raises
    `ArchonError` where they are not to be had any more.
    """

    size: int
    load: Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A whole file on disk, its checksum proven. `path` is readable while this object is referenced.

    `keep` is whatever holds the file in place; it lets go when it is collected.
    """

    path: Path
    size: int
    checksum: str
    keep: object = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file's bytes. `cache_hit` is None where there is no cache.

    `content` is the whole file; its first `HEAD_BYTES` where it is over `HELD_LIMIT` and `whole` is set;
    empty where it was `let_go`. `checksum` is the `sha256:<hex>` that the fetcher has proven; None leaves
    it to the resolver.
    `git_blob` is the Git blob it has proven the bytes to come from (LFS content is not its blob's bytes).
    `link_refusal` is the cause for which an object was read by key although the event has a link.
    """

    content: bytes
    cache_hit: bool | None = None
    attempts: int = 1
    wire_bytes: int = 0
    whole: StoredFile | None = None
    checksum: str | None = None
    git_blob: str | None = None
    link_refusal: str | None = None
    let_go: LetGo | None = None

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        elsewhere = self.whole or self.let_go
        return elsewhere.size if elsewhere else len(self.content)


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
