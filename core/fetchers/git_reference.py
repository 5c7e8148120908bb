"""Git reference: the bytes are on a Git host, by repository, commit and blob id."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from core.cache.counters import CacheStats
from core.errors import ArchonError
from core.events.request import Carrier, IndexRequest, RequestedFile
from core.fetchers.base import HEAD_BYTES, HELD_LIMIT, HELD_UNTOLD, Fetched, LetGo
from core.git.source import (
    GitContent,
    GitSource,
    RepositoryToWarm,
    Wanted,
    WarmedRepository,
    WarmLimits,
    WarmTell,
)
from core.progress import Listener, RepositoryFetched, ignore

if TYPE_CHECKING:
    from core.git.fetcher import GitContentFetcher

WARMING: Final = "(warming)"
"""The project and job that what is fetched ahead counts to."""


class GitReferenceFetcher:
    """Unpacks what `core.strategies.git_reference` packed; all files of an event in one exchange.

    It also stands in for the other carriers, where an event names a repository beside them. `opened`
    gives the fetcher to work with, asked for when the first event needs it.
    """

    carrier = Carrier.GIT_REFERENCE

    def __init__(
        self,
        opened: Callable[[], Awaitable[GitContentFetcher]],
        listener: Listener = ignore,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._opened = opened
        self._tell = listener
        self._clock = clock
        self._opening = asyncio.Lock()
        self._fetcher: GitContentFetcher | None = None

    def refuses(self, request: IndexRequest, file: RequestedFile) -> str | None:
        if not request.git_url or not request.git_ref:
            return "the event names no Git repository and commit"
        if file.git_blob is None and file.carrier is not Carrier.GIT_REFERENCE:
            return "the event names no Git blob"
        return None

    async def fetch_many(
        self, request: IndexRequest, files: Sequence[RequestedFile]
    ) -> Sequence[Fetched | ArchonError]:
        source = GitSource(
            request.git_url or "", request.git_ref or "", request.git_branch, request.git_credentials
        )
        wanted = [Wanted(file.relative_path, file.git_blob) for file in files]
        started = self._clock()
        try:
            fetcher = await self.open()
        except ArchonError as error:
            return [error] * len(files)
        told = sum(size for file in files if (size := file.size_bytes or 0) <= HELD_LIMIT)
        answers = await fetcher.fetch_many(source, wanted, hold=max(told, HELD_UNTOLD))
        received = sum(answer.wire_bytes for answer in answers if isinstance(answer, GitContent))
        if received:
            took = self._clock() - started
            self._tell(RepositoryFetched(request.project_name, request.correlation_id, received, took))
        return [_fetched(fetcher, source, *each) for each in zip(wanted, answers, strict=True)]

    def cache_stats(self) -> dict[str, CacheStats]:
        """The figures of the clone cache as `git`; nothing before it is open."""
        return {"git": self._fetcher.cache.stats()} if self._fetcher else {}

    async def warm(
        self,
        repositories: Sequence[RepositoryToWarm],
        limits: WarmLimits,
        turns: asyncio.Semaphore,
        tell: WarmTell | None = None,
    ) -> list[WarmedRepository]:
        """See `core.git.warming.warm`; without a fetcher, why there is none is every repository's error."""
        from core.git.warming import quiet, warm  # as lazily as the fetcher itself

        try:
            fetcher = await self.open()
        except ArchonError as error:
            return [WarmedRepository(each.url, each.ref, None, error=error) for each in repositories]
        answers = await warm(fetcher, repositories, limits, turns, tell or quiet)
        for answer in answers:
            if answer.bytes:
                self._tell(RepositoryFetched(WARMING, WARMING, answer.bytes, answer.seconds))
        return answers

    async def close(self) -> None:
        if self._fetcher:
            await self._fetcher.close()

    async def open(self) -> GitContentFetcher:
        """What fetches, opened if it is not yet. Raises what opening raises."""
        async with self._opening:
            self._fetcher = self._fetcher or await self._opened()
            return self._fetcher


def _fetched(
    fetcher: GitContentFetcher, source: GitSource, wanted: Wanted, answer: GitContent | ArchonError
) -> Fetched | ArchonError:
    if isinstance(answer, ArchonError):
        return answer
    let_go = answer.let_go
    return Fetched(
        answer.content,
        cache_hit=answer.cache_hit,
        attempts=answer.attempts,
        wire_bytes=answer.wire_bytes,
        checksum=let_go.checksum if let_go else None,
        git_blob=answer.blob,
        let_go=LetGo(let_go.size, partial(_load, fetcher, source, wanted, answer.blob)) if let_go else None,
    )


async def _load(fetcher: GitContentFetcher, source: GitSource, wanted: Wanted, blob: str) -> bytes:
    content = await fetcher.read_again(source, wanted, blob)
    return content if len(content) <= HELD_LIMIT else content[:HEAD_BYTES]
