"""File contents from Git: by URL, commit and path or blob id, through the clone cache."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from core.cache.flight import SingleFlight
from core.errors import AccessDenied, ArchonError, BackendUnavailable
from core.events.v2 import GitCredentials
from core.git.batch import Batch
from core.git.clone_cache import Clone, CloneCache
from core.git.commit_list import CommitFiles
from core.git.credentials import Grant, Login
from core.git.errors import CorruptPack, LfsPointer, MissingBlob
from core.git.hosts import GitHosts
from core.git.incoming import disk_refusals
from core.git.lfs import LfsClient, parse_pointer
from core.git.pack_index import BLOB
from core.git.session import FetchSession, HostSession
from core.git.source import GitContent, GitSource, Wanted
from core.git.transfer import TransferLimits
from core.retry import RetryPolicy
from core.safety.git_url import check_commit

T = TypeVar("T")
Session = TypeVar("Session", bound=HostSession)

READERS: Final = 4
# A damaged pack is dropped where it is read, and what was in it fetched again; more often is no accident.
ROUNDS: Final = 3


class GitContentFetcher:
    """Fetches file contents; all files of a call in one round trip where the host allows it.

    It owns the opened `cache` and the `hosts`, and closes them. `in_flight` bounds exchanges with
    hosts. Without `lfs` an LFS pointer is an error.
    """

    def __init__(
        self,
        cache: CloneCache,
        hosts: GitHosts,
        *,
        limits: TransferLimits | None = None,
        retry: RetryPolicy | None = None,
        in_flight: int = 10,
        lfs: LfsClient | None = None,
    ) -> None:
        self.hosts = hosts
        self.cache = cache
        self._limits = limits or TransferLimits()
        self._retry = retry or RetryPolicy(deadline_s=self._limits.deadline_s)
        self._lfs = lfs
        self._fetching = asyncio.Semaphore(in_flight)
        self._threads = ThreadPoolExecutor(in_flight + READERS, thread_name_prefix="git")
        self._flight: SingleFlight[object, object] = SingleFlight()
        self._groups: dict[tuple[str, str], frozenset[str]] = {}

    async def fetch_file_content(
        self, git_url: str, commit_sha: str, file_path: str, credentials: GitCredentials | None = None
    ) -> bytes:
        """One file's bytes. Raises the `ArchonError` that says why not."""
        source = GitSource(git_url, commit_sha, credentials=credentials)
        (answer,) = await self.fetch_many(source, [Wanted(file_path)])
        if isinstance(answer, ArchonError):
            raise answer
        return answer.content

    async def fetch_many(
        self, source: GitSource, wanted: Sequence[Wanted], *, hold: int | None = None
    ) -> list[GitContent | ArchonError]:
        """One answer per file, in order; a file's error never costs its neighbours.

        At most `hold` bytes of content are kept; what is let go of is there for `read_again`.
        """
        batch = Batch(wanted, len(source.commit), hold)
        try:
            grant = self._grant(source)
            with ExitStack() as stack:
                # One hop to a thread opens the clone and reads all that is there.
                clone = await self._in_thread(lambda: self._look(stack, grant, source, batch))
                await self._complete(clone, grant, source, batch)
        except ArchonError as error:
            batch.fail(error)
        return batch.answers

    async def read_again(self, source: GitSource, wanted: Wanted, blob: str) -> bytes:
        """A file that `fetch_many` let go of, from its clone; from the host, if it was evicted meanwhile.

        Raises the `ArchonError` that says why not.
        """
        grant = self._grant(source)

        def read() -> bytes:
            with self._use(grant, source) as clone:
                return clone.packs.read(blob)[1]

        with suppress(KeyError, CorruptPack):
            content = await self._in_thread(read)
            # What a pointer stands for is not in the clone.
            if parse_pointer(content) is None:
                return content
        (answer,) = await self.fetch_many(source, [Wanted(wanted.path, blob)])
        if isinstance(answer, ArchonError):
            raise answer
        return answer.content

    async def files(self, source: GitSource) -> CommitFiles:
        """The file list of a commit. Raises the `ArchonError` that says why not."""
        grant = self._grant(source)
        with ExitStack() as stack:
            clone = await self._in_thread(lambda: stack.enter_context(self._use(grant, source)))
            known = await self._in_thread(lambda: clone.commits.get(source.commit))
            return known or await self._fetch_files(clone, grant, source)

    async def on_host(
        self, url: str, credentials: GitCredentials | None, work: Callable[[HostSession], T]
    ) -> T:
        """The answer of `work`, which asks a host and needs no clone."""
        grant = self.hosts.grant(url, credentials)

        def session(login: Login) -> HostSession:
            return HostSession(self.hosts.remote(grant, login), self.hosts.policy, self._limits)

        return (await self._exchange(grant, session, lambda session, _: work(session)))[0]

    async def in_clone(self, source: GitSource, work: Callable[[FetchSession], T]) -> T:
        """The answer of `work`, which brings objects into the clone of `source`."""
        return (await self._in_session(self._grant(source), source, work))[0]

    def hold(self, source: GitSource) -> AbstractContextManager[Clone]:
        """The clone of `source`, kept from eviction while the context lasts; blocking, but briefly."""
        return self._use(self._grant(source), source)

    async def close(self) -> None:
        """Wait for what runs, and close cache and hosts; what is under way ends with its callers."""
        await asyncio.to_thread(self._threads.shutdown)
        self.hosts.close()
        await asyncio.to_thread(self.cache.close)

    def _grant(self, source: GitSource) -> Grant:
        check_commit(source.commit)
        return self.hosts.grant(source.url, source.credentials)

    def _use(self, grant: Grant, source: GitSource) -> AbstractContextManager[Clone]:
        object_format = "sha1" if len(source.commit) == 40 else "sha256"
        return self.cache.use(grant.url, grant.scope, object_format)

    def _look(self, stack: ExitStack, grant: Grant, source: GitSource, batch: Batch) -> Clone:
        clone = stack.enter_context(self._use(grant, source))
        if batch.needs_files and (files := clone.commits.get(source.commit)):
            batch.resolve(files)
        self._read(clone, batch, cache_hit=True)
        return clone

    async def _complete(self, clone: Clone, grant: Grant, source: GitSource, batch: Batch) -> None:
        """Fetch what `_look` did not find."""
        if batch.needs_files:
            batch.resolve(await self._fetch_files(clone, grant, source))
            await self._in_thread(lambda: self._read(clone, batch, cache_hit=True))
        damaged = len(batch.damaged.intersection(batch.waiting))
        self.cache.count("miss:corrupt", damaged)
        self.cache.count("miss:absent", len(batch.waiting) - damaged)
        for _ in range(ROUNDS):
            missing = batch.waiting
            if not missing:
                break
            received, attempts = await self._fetch_blobs(clone, grant, source, batch)
            share = received // len(missing)
            reading = partial(self._read, cache_hit=False, wire_bytes=share, attempts=attempts)
            await self._in_thread(partial(reading, clone, batch))
        batch.fail(CorruptPack("the clone cache keeps being damaged", hint="archon-agent cache verify"))
        if batch.pointers:
            await self._fetch_lfs(grant, batch)

    def _read(
        self, clone: Clone, batch: Batch, *, cache_hit: bool, wire_bytes: int = 0, attempts: int = 1
    ) -> None:
        """Answer what the clone has."""
        hits = size = 0
        for oid in batch.waiting:
            try:
                kind, content = clone.packs.read(oid)
            except KeyError:
                continue
            except CorruptPack:
                self.cache.count("corruptions")
                batch.damaged.add(oid)
                continue
            except ArchonError as error:
                batch.reject(oid, error)
                continue
            if kind != BLOB:
                batch.reject(oid, MissingBlob(f"the object {oid[:12]} is no file"))
                continue
            batch.accept(oid, content, cache_hit=cache_hit, wire_bytes=wire_bytes, attempts=attempts)
            hits += 1
            size += len(content)
        if cache_hit:
            self.cache.count("hits", hits)
            self.cache.count("hit_bytes", size)

    async def _fetch_files(self, clone: Clone, grant: Grant, source: GitSource) -> CommitFiles:
        async def work() -> CommitFiles:
            answer = await self._in_session(
                grant, source, lambda session: session.files(source.commit, source.branch)
            )
            return answer[0]

        found = await self._flight.run((clone.key, source.commit), work)
        assert isinstance(found, CommitFiles)  # noqa: S101 - the flight's key names its type
        return found

    async def _fetch_blobs(
        self, clone: Clone, grant: Grant, source: GitSource, batch: Batch
    ) -> tuple[int, int]:
        """Bring the waiting blobs in, joining exchanges under way for some of them; bytes and attempts."""
        missing = batch.waiting
        groups = {group for oid in missing if (group := self._groups.get((clone.key, oid)))}
        if own := frozenset(missing).difference(*groups):
            groups.add(own)
            self._groups.update({(clone.key, oid): own for oid in own})
        received = attempts = 0
        flights = [self._join(clone, grant, source, group) for group in groups]
        for group, landed in zip(groups, await asyncio.gather(*flights, return_exceptions=True), strict=True):
            if isinstance(landed, ArchonError):
                for oid in group:
                    batch.reject(oid, landed)
            elif isinstance(landed, BaseException):
                raise landed
            else:
                for oid, error in landed.errors.items():
                    batch.reject(oid, error)
                attempts = max(attempts, landed.attempts)
                received += landed.received if group is own else 0
        return received, attempts

    async def _join(self, clone: Clone, grant: Grant, source: GitSource, group: frozenset[str]) -> _Landed:
        async def work() -> _Landed:
            try:
                answer = await self._in_session(
                    grant, source, lambda session: session.blobs(group, source.commit, source.branch)
                )
                return _Landed(*answer)
            finally:
                for oid in group:
                    self._groups.pop((clone.key, oid), None)

        landed = await self._flight.run((clone.key, group), work)
        assert isinstance(landed, _Landed)  # noqa: S101 - the flight's key names its type
        return landed

    async def _fetch_lfs(self, grant: Grant, batch: Batch) -> None:
        lfs = self._lfs
        if lfs is None:
            off = LfsPointer("a Git LFS pointer; fetching LFS content is off", hint="--git-lfs turns it on")
            for pointer in list(batch.pointers):
                batch.replace_pointer(pointer, off)
            return

        def session(login: Login) -> HostSession:
            return HostSession(self.hosts.remote(grant, login), self.hosts.policy, self._limits)

        try:
            # A second attempt asks only for what the first did not bring.
            await self._exchange(
                grant,
                session,
                lambda session, login: lfs.fetch(
                    session, grant.url, login, list(batch.pointers), batch.replace_pointer
                ),
            )
        except ArchonError as error:
            for pointer in list(batch.pointers):
                batch.replace_pointer(pointer, error)

    async def _in_session(
        self, grant: Grant, source: GitSource, work: Callable[[FetchSession], T]
    ) -> tuple[T, int, int]:
        def opened(login: Login) -> FetchSession:
            remote = self.hosts.remote(grant, login)
            return FetchSession(lambda: self._use(grant, source), remote, self.hosts.policy, self._limits)

        def working(session: FetchSession, _login: Login) -> T:
            with session:
                return work(session)

        return await self._exchange(grant, opened, working)

    async def _exchange(
        self, grant: Grant, open_session: Callable[[Login], Session], work: Callable[[Session, Login], T]
    ) -> tuple[T, int, int]:
        """`work` in a session of its own, retried; its answer, the bytes received and the attempts."""
        made = 0

        async def attempt(number: int) -> tuple[T, int]:
            nonlocal made
            made = number
            async with self._fetching:
                login = await self.hosts.resolver.login(grant)
                try:
                    return await self._ask(open_session(login), login, work)
                except AccessDenied:
                    renewed = await self.hosts.resolver.renew(grant, login)
                    if renewed is None:
                        raise
                except ArchonError:
                    self.hosts.forget(grant)
                    raise
                return await self._ask(open_session(renewed), renewed, work)

        answer, received = await self._retry.run(attempt, f"fetching from {grant.url.authority}")
        return answer, received, made

    async def _ask(
        self, session: Session, login: Login, work: Callable[[Session, Login], T]
    ) -> tuple[T, int]:
        answer = await self._in_thread(lambda: work(session, login), session)
        return answer, session.received

    async def _in_thread(self, work: Callable[[], T], session: HostSession | None = None) -> T:
        """`work` in a thread of our own. When cancelled, stop the session and wait for the thread.

        Networks report their own errors, so an OSError that reaches this place is the cache disk's.
        """

        def guarded() -> T:
            with disk_refusals():
                return work()

        running = asyncio.get_running_loop().run_in_executor(self._threads, guarded)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if session:
                session.stop(BackendUnavailable("fetching was cancelled"))
            await asyncio.wait([running])
            running.exception()
            raise


@dataclass(frozen=True, slots=True)
class _Landed:
    errors: dict[str, ArchonError]
    received: int
    attempts: int
