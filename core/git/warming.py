"""Fetching whole commits into the clone cache, ahead of the events that need them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Final, TypeVar

from core.errors import ArchonError, ContentTooLarge, DeadlineExceeded
from core.git.fetcher import GitContentFetcher
from core.git.refs import resolve_ref
from core.git.session import FetchSession
from core.git.source import GitSource, RepositoryToWarm, WarmedRepository, WarmLimits, WarmTell

T = TypeVar("T")

CHUNK_BLOBS: Final = 1000
"""Blobs per exchange: what an interrupted warming loses at most, and how often it tells."""


def quiet(_repository: RepositoryToWarm, _here: int, _files: int, _received: int) -> None:
    """Tells nobody."""


async def warm(
    fetcher: GitContentFetcher,
    repositories: Sequence[RepositoryToWarm],
    limits: WarmLimits,
    turns: asyncio.Semaphore,
    tell: WarmTell = quiet,
) -> list[WarmedRepository]:
    """Fetch every file of the commits that refs name now; one answer per repository, in order.

    A credential is used only where the fetcher's hosts grant it. Each waits for one of `turns`. What fails
    is told in the answer.
    """
    started = asyncio.get_running_loop().time()
    end = None if limits.deadline_s is None else started + limits.deadline_s

    async def one(repository: RepositoryToWarm) -> WarmedRepository:
        warming = _Warming(fetcher, repository, limits.max_bytes, tell)
        try:
            async with asyncio.timeout_at(end) as timeout, turns:
                await warming.run()
        except TimeoutError:
            if not timeout.expired():
                raise
            return warming.answer(DeadlineExceeded(f"warming took longer than {limits.deadline_s:g} s"))
        except ArchonError as error:
            return warming.answer(error)
        return warming.answer()

    return list(await asyncio.gather(*map(one, repositories)))


class _Warming:
    """One repository, and how far it is."""

    def __init__(
        self,
        fetcher: GitContentFetcher,
        repository: RepositoryToWarm,
        max_bytes: int | None,
        tell: WarmTell,
    ) -> None:
        self._fetcher = fetcher
        self._repository = repository
        self._max_bytes = max_bytes
        self._tell = tell
        self._commit: str | None = None
        self._files = self._here = self._fetched = 0
        self._received = 0
        self._first: ArchonError | None = None
        self._clock = asyncio.get_running_loop().time
        self._started = self._clock()

    async def run(self) -> None:
        self._started = self._clock()
        wanted = self._repository
        resolved = await resolve_ref(self._fetcher, wanted.url, wanted.ref, wanted.credentials)
        self._commit = commit = resolved.commit
        source = GitSource(wanted.url, commit, resolved.branch, wanted.credentials)
        with ExitStack() as held:
            # Or else what came first could be evicted by what comes last.
            clone = held.enter_context(self._fetcher.hold(source))
            listed = await self._ask(source, lambda session: session.files(commit, source.branch))
            files = Counter(file.oid for _, file in listed.items() if file.is_file)
            self._files = files.total()
            missing = await asyncio.to_thread(clone.packs.missing, files)
            self._here = self._files - sum(files[oid] for oid in missing)
            self._say()
            for start in range(0, len(missing), CHUNK_BLOBS):
                await self._bring(source, missing[start : start + CHUNK_BLOBS], files)

    async def _bring(self, source: GitSource, oids: Sequence[str], files: Counter[str]) -> None:
        errors = await self._ask(source, lambda session: session.blobs(oids, source.commit, source.branch))
        for oid in oids:
            if error := errors.get(oid):
                self._first = self._first or error
            else:
                self._fetched += files[oid]
                self._here += files[oid]
        self._say()

    async def _ask(self, source: GitSource, work: Callable[[FetchSession], T]) -> T:
        def counted(session: FetchSession) -> T:
            try:
                return work(session)
            finally:
                self._received += session.received

        answer = await self._fetcher.in_clone(source, counted)
        if self._max_bytes is not None and self._received > self._max_bytes:
            raise ContentTooLarge(
                f"warming brought more than {self._max_bytes:,} bytes", hint="see git.max_fetch_bytes"
            )
        return answer

    def _say(self) -> None:
        self._tell(self._repository, self._here, self._files, self._received)

    def answer(self, error: ArchonError | None = None) -> WarmedRepository:
        return WarmedRepository(
            self._repository.url,
            self._repository.ref,
            self._commit,
            files=self._files,
            fetched=self._fetched,
            missing=self._files - self._here,
            bytes=self._received,
            seconds=self._clock() - self._started,
            error=error or self._first,
        )
