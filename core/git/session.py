"""Bringing objects into a clone: the fewest bytes that a host can be made to send."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Final, Self

from core.errors import ArchonError, BackendUnavailable, ContentTooLarge, DeadlineExceeded
from core.git.clone_cache import Clone
from core.git.commit_list import CommitFiles
from core.git.errors import CloneTooLarge, CorruptPack, HostMisbehaved, MissingBlob, UnknownCommit
from core.git.remote import NO_BLOBS, NO_TREES, GitRemote, Refs, WantsRefused
from core.git.transfer import Transfer, TransferLimits
from core.repository.git_tree import CorruptObject, Objects
from core.safety.display import display
from core.safety.url import UrlPolicy

logger = logging.getLogger(__name__)

# How much history to take from a host that gives no commit by its id; 2^31 - 1 is all of it.
DEPTHS: Final = (1, 16, 256, 2**31 - 1)


class HostSession:
    """One operation on one host, within one deadline, in one thread; `stop` may come from another."""

    def __init__(
        self,
        remote: GitRemote,
        policy: UrlPolicy,
        limits: TransferLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.remote = remote
        self.received = 0
        self._policy = policy
        self._limits = limits
        self._clock = clock
        self._end = clock() + limits.deadline_s
        self._transfer: Transfer | None = None
        self._stopped: ArchonError | None = None

    @property
    def host(self) -> str:
        return self.remote.url.authority or "file://"

    def stop(self, reason: ArchonError) -> None:
        """End the operation as soon as its thread can."""
        self._stopped = reason
        if self._transfer:
            self._transfer.stop(reason)

    def refs(self, prefixes: Sequence[str]) -> Refs:
        """The host's refs with these prefixes, as they are now."""
        with self.exchange():
            return self.remote.refs(prefixes)

    @contextmanager
    def exchange(self) -> Iterator[Transfer]:
        """A transfer with what is left of the deadline."""
        left = self._end - self._clock()
        if left <= 0:
            raise DeadlineExceeded(f"{self.host} took longer than {self._limits.deadline_s:g} s")
        transfer = Transfer(self.host, self._policy, replace(self._limits, deadline_s=left))
        self._transfer = transfer
        try:
            if self._stopped:
                raise self._stopped
            with transfer:
                yield transfer
        finally:
            self.received += transfer.received
            self._transfer = None


class FetchSession(HostSession):
    """A `HostSession` that brings objects into the clone it is in; it holds the clone itself, because a
    caller that is cancelled lets go of it sooner than this thread does.
    """

    def __init__(
        self,
        use: Callable[[], AbstractContextManager[Clone]],
        remote: GitRemote,
        policy: UrlPolicy,
        limits: TransferLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(remote, policy, limits, clock)
        self._use = use
        self._held = ExitStack()

    def __enter__(self) -> Self:
        self.clone = self._held.enter_context(self._use())
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def files(self, commit: str, branch: str | None) -> CommitFiles:
        """The file list of `commit`, its trees fetched if they are not here.

        Raises `UnknownCommit`, or what `GitRemote.fetch` raises.
        """
        if known := self.clone.commits.get(commit):
            return known
        try:
            if self.clone.packs.missing([commit]):
                self._fetch_commit(commit, branch, self.clone.commits.haves())
            return self._list(commit)
        except (CorruptPack, CorruptObject) as error:
            # A pack with older trees is gone; without haves the host sends every tree.
            logger.info("trees of %s are incomplete: %s", self.host, error)
            self.clone.commits.clear()
        self._fetch_commit(commit, branch, [])
        try:
            return self._list(commit)
        except CorruptObject as error:
            raise HostMisbehaved(f"{self.host} does not send all of commit {commit[:12]}: {error}") from None

    def blobs(self, oids: Collection[str], commit: str, branch: str | None) -> dict[str, ArchonError]:
        """Fetch blobs, all in one exchange where the host allows it; the error of each that stays away.

        Raises what `GitRemote.fetch` raises when the host as a whole fails.
        """
        wanted = self.clone.packs.missing(oids)
        if not wanted:
            return {}
        try:
            self._fetch(wanted)
            return self._absent(wanted)
        except ContentTooLarge as error:
            return self._halves(wanted, commit, branch, error)
        except WantsRefused as refused:
            logger.info("%s does not give objects by id: %s", self.host, refused)
        return self._blobs_of_commit(wanted, commit, branch)

    def history(self, tips: Sequence[str]) -> None:
        """Fetch every commit that `tips` reach, without trees and files where the host filters."""
        self._fetch(tips, object_filter=NO_TREES)

    def _blobs_of_commit(
        self, wanted: Sequence[str], commit: str, branch: str | None
    ) -> dict[str, ArchonError]:
        """When ids are refused: only those that the commit has are worth another try, then all of it."""
        known = {file.oid for _, file in self.files(commit, branch).items()}
        errors: dict[str, ArchonError] = {oid: _missing(oid) for oid in wanted if oid not in known}
        rest = self.clone.packs.missing(oid for oid in wanted if oid in known)
        if not rest:
            return errors
        try:
            self._fetch(rest)
        except WantsRefused:
            logger.warning("%s gives no file by its id: fetching all files of %s", self.host, commit[:12])
            try:
                self._fetch([commit], depth=1)
            except WantsRefused:
                self._fetch_by_branch(commit, branch)
        return errors | self._absent(rest)

    def _halves(
        self, wanted: Sequence[str], commit: str, branch: str | None, error: ContentTooLarge
    ) -> dict[str, ArchonError]:
        """One file too large must not cost its neighbours."""
        if len(wanted) == 1:
            return {wanted[0]: error}
        middle = len(wanted) // 2
        return self.blobs(wanted[:middle], commit, branch) | self.blobs(wanted[middle:], commit, branch)

    def _absent(self, wanted: Collection[str]) -> dict[str, ArchonError]:
        return {oid: _missing(oid) for oid in self.clone.packs.missing(wanted)}

    def _list(self, commit: str) -> CommitFiles:
        growth = self.clone.growth("list")
        try:
            files = self.clone.commits.build(commit, Objects(self.clone.packs), growth.grow)
        except BaseException:
            growth.settle(stored=False)
            raise
        growth.settle(stored=True)
        return files

    def _fetch_commit(self, commit: str, branch: str | None, haves: Sequence[str]) -> None:
        try:
            filtered = not self._fetch([commit], depth=1, haves=haves, object_filter=NO_BLOBS)
        except WantsRefused as refused:
            if self.remote.protocol_version == 2 and commit in refused.ids:
                raise UnknownCommit(
                    f"{self.host} has no commit {commit[:12]}",
                    hint="it was never pushed, or was overwritten and collected",
                ) from None
            self._fetch_by_branch(commit, branch)
            return
        if not filtered:
            logger.info("%s ignores the filter and sent all files of %s", self.host, commit[:12])
        if self.clone.packs.missing([commit]):
            raise HostMisbehaved(f"{self.host} sent a pack without the commit asked for")

    def _fetch_by_branch(self, commit: str, branch: str | None) -> None:
        """Old hosts give only what their refs advertise: take a branch, deeper until the commit is in it."""
        refs = self.refs(["HEAD", "refs/heads/", "refs/tags/"])
        names = [name for name, value in refs.ids.items() if commit in (value, refs.commit(name))]
        tip = next(
            (
                refs.ids[name]
                for name in (*names, f"refs/heads/{branch}", refs.head or "HEAD", "HEAD")
                if name in refs.ids
            ),
            None,
        )
        if tip is None:
            raise UnknownCommit(f"{self.host} has no branch that could hold commit {commit[:12]}")
        for depth in DEPTHS:
            logger.warning(
                "%s gives no commit by its id: fetching %s, depth %d",
                self.host, display(branch or "its default branch", 80), depth,
            )  # fmt: skip
            self._fetch([tip], depth=depth)
            if not self.clone.packs.missing([commit]):
                return
        raise UnknownCommit(
            f"{self.host} has no commit {commit[:12]} in {display(branch or 'its default branch', 80)}",
            hint="name the branch in the event, or use a host that speaks protocol version 2",
        )

    def _fetch(
        self,
        wants: Collection[str],
        *,
        depth: int | None = None,
        haves: Sequence[str] = (),
        object_filter: bytes | None = None,
    ) -> bool:
        """One pack into the clone; True if it holds any blob."""
        with self.clone.packs.receive() as incoming:
            growth = self.clone.growth(incoming.path.name)
            incoming.grow = growth.grow
            stored = False
            try:
                with self.exchange() as transfer:
                    self.remote.fetch(
                        wants, incoming.write, depth=depth, haves=haves, object_filter=object_filter
                    )
                    has_blobs = self.clone.packs.publish(incoming, transfer.check)
                    stored = True
            finally:
                growth.settle(stored=stored)
        self._consolidate()
        return has_blobs

    def _consolidate(self) -> None:
        """Join small packs where that pays and there is room for it."""
        if size := self.clone.packs.consolidable():
            growth = self.clone.growth("consolidation")
            with suppress(CloneTooLarge, BackendUnavailable):
                growth.grow(size)
                self.clone.packs.consolidate()
            growth.settle(stored=False)


def _missing(oid: str) -> MissingBlob:
    return MissingBlob(f"the repository has no object {oid[:12]}")
