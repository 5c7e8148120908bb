"""A commit on a Git host as a source of ingestion: listed from its trees, its files read only if asked to."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from itertools import islice
from typing import BinaryIO, Final

from core.errors import ArchonError, UnsafeInput
from core.events.v2 import GitCredentials
from core.git.clone_cache import Clone
from core.git.commit_list import UNSAFE, CommitFile, CommitFiles
from core.git.fetcher import GitContentFetcher
from core.git.origin import GitOrigin
from core.git.refs import resolve_ref
from core.git.source import GitContent, GitSource, Wanted
from core.repository.attributes import FILE_NAME, AttributeRules
from core.repository.facts import Entry, GitState, Skip, SkipReason
from core.safety.display import display
from core.safety.path import check_relative_path, from_bytes

logger = logging.getLogger(__name__)

CHUNK_FILES: Final = 500
"""Blobs per exchange where files are read: 500 at once cost a fifth of what they cost one by one."""

_ATTRIBUTES_LIMIT: Final = 1000


class RemoteRepository:
    """A `Repository` over a commit that a Git host has. Open it with `open_remote`.

    Unless it `reads`, entries are unread: a tree tells no sizes, and asking for them means fetching the
    files. Files are then known by their blob ids, against which the consumer verifies what it fetches.
    """

    def __init__(
        self,
        source: GitSource,
        name: str,
        files: CommitFiles,
        attributes: Mapping[bytes, bytes],
        *,
        lfs: bool = False,
        reader: BlobReader | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self._files = files
        self._attributes = attributes
        self._lfs = lfs
        self._reader = reader
        # The file listed last: its bytes were needed for its size, and are mostly asked for next.
        self._latest: tuple[str, bytes] = ("", b"")

    @property
    def origin(self) -> GitOrigin:
        """The commit being read."""
        source = self.source
        return GitOrigin(source.url, source.commit, source.branch, source.credentials)

    def git_state(self) -> GitState | None:
        """As `Repository.git_state`."""
        return GitState(self.source.commit, self.source.branch, self.source.url)

    def is_dirty(self) -> bool | None:
        """False: a commit is what it is."""
        return False

    def entries(self) -> Iterator[Entry | Skip]:
        """As `Repository.entries`. While files are read, raises what fetching them raises."""
        rules = AttributeRules(self._attributes.get)
        items = self._files.items()
        while chunk := list(islice(items, CHUNK_FILES)):
            errors = (
                self._reader.bring([file.oid for _, file in chunk if file.is_file]) if self._reader else {}
            )
            for path, file in chunk:
                yield self._entry(path, file, rules, errors)

    def _entry(
        self, path: bytes, file: CommitFile, rules: AttributeRules, errors: Mapping[str, ArchonError]
    ) -> Entry | Skip:
        text = from_bytes(path)
        try:
            check_relative_path(text)
        except UnsafeInput:
            return Skip(text, SkipReason.OUTSIDE_REPOSITORY)
        if not file.is_file:
            kind = SkipReason.SYMLINK if file.is_symlink else SkipReason.SUBMODULE
            return Skip(text, SkipReason.OUTSIDE_REPOSITORY if file.mode == UNSAFE else kind)
        attributes = rules.of(path.rpartition(b"/")[0], text)
        if attributes.lfs and not self._lfs:
            return Skip(text, SkipReason.LFS_POINTER)
        size = 0
        if self._reader:
            content = self._content(text, file.oid, errors)
            if isinstance(content, Skip):
                return content
            size = len(content)
        return Entry(
            text,
            size,
            None,
            file.mode,
            file.oid,
            f"blob:{file.oid}",
            attributes.language,
            attributes.generated,
            attributes.vendored,
            unread=self._reader is None,
        )

    def read(self, entry: Entry, limit: int) -> bytes | Skip:
        """As `Repository.read`; an unread entry is fetched on its own."""
        content = self._content(entry.path, entry.blob or "", {})
        return content if isinstance(content, Skip) else content[:limit]

    def open(self, entry: Entry) -> BinaryIO | Skip:
        """As `Repository.open`."""
        content = self._content(entry.path, entry.blob or "", {})
        return content if isinstance(content, Skip) else io.BytesIO(content)

    def close(self) -> None:
        """Let the clone go; idempotent."""
        if self._reader:
            self._reader.close()

    def _content(self, path: str, oid: str, errors: Mapping[str, ArchonError]) -> bytes | Skip:
        if self._latest[0] == oid:
            return self._latest[1]
        if self._reader is None:
            return Skip(path, SkipReason.UNREADABLE, "its content stays on the Git host")
        try:
            if oid in errors:
                raise errors[oid]
            content = self._reader.read(oid)
        except ArchonError as error:
            return Skip(path, SkipReason.UNREADABLE, str(error))
        self._latest = (oid, content)
        return content


class BlobReader:
    """Reads a repository's blobs from its clone, which it keeps from eviction.

    For threads other than the event loop's.
    """

    def __init__(
        self, fetcher: GitContentFetcher, source: GitSource, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._fetcher = fetcher
        self._source = source
        self._loop = loop
        self._stack = ExitStack()
        held: AbstractContextManager[Clone] = fetcher.hold(source)
        self._clone = self._stack.enter_context(held)

    def bring(self, oids: list[str]) -> dict[str, ArchonError]:
        """Fetch blobs that are not here; the error of each that stays away."""
        source = self._source
        if not self._clone.packs.missing(oids):
            return {}
        work = self._fetcher.in_clone(
            source, lambda session: session.blobs(oids, source.commit, source.branch)
        )
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def read(self, oid: str) -> bytes:
        """A blob's bytes. Raises the `ArchonError` that says why not."""
        try:
            return self._clone.packs.read(oid)[1]
        except (KeyError, ArchonError):
            for error in self.bring([oid]).values():
                raise error from None
            return self._clone.packs.read(oid)[1]

    def close(self) -> None:
        self._stack.close()


async def open_remote(
    fetcher: GitContentFetcher,
    url: str,
    ref: str | None = None,
    credentials: GitCredentials | None = None,
    *,
    reads: bool = False,
    lfs: bool = False,
) -> RemoteRepository:
    """The commit that `ref` names now, its trees fetched. With `reads`, files are too, in bounded batches.

    Raises `UnknownRef`, `AccessDenied`, `RepositoryNotFound`, `UnknownCommit`, `BackendUnavailable`, …
    """
    checked = fetcher.hosts.grant(url, credentials).url
    resolved = await resolve_ref(fetcher, url, ref, credentials)
    source = GitSource(str(checked), resolved.commit, resolved.branch, credentials)
    files = await fetcher.files(source)
    rules = await _attribute_files(fetcher, source, files)
    reader = BlobReader(fetcher, source, asyncio.get_running_loop()) if reads else None
    return RemoteRepository(source, checked.name, files, rules, lfs=lfs, reader=reader)


async def remote_blobs(
    fetcher: GitContentFetcher, url: str, ref: str, credentials: GitCredentials | None
) -> dict[str, str]:
    """The blob ids of a commit's files by path. Raises what `open_remote` raises."""
    resolved = await resolve_ref(fetcher, url, ref, credentials)
    files = await fetcher.files(GitSource(url, resolved.commit, resolved.branch, credentials))
    return {from_bytes(path): file.oid for path, file in files.items() if file.is_file}


async def _attribute_files(
    fetcher: GitContentFetcher, source: GitSource, files: CommitFiles
) -> dict[bytes, bytes]:
    """The content of every `.gitattributes`, by its directory."""
    found = {
        path: file.oid
        for path, file in files.items()
        if file.is_file and path.rpartition(b"/")[2] == FILE_NAME
    }
    wanted = [Wanted(from_bytes(path), oid) for path, oid in islice(found.items(), _ATTRIBUTES_LIMIT)]
    contents: dict[bytes, bytes] = {}
    for path, answer in zip(found, await fetcher.fetch_many(source, wanted), strict=False):
        if isinstance(answer, GitContent):
            contents[path.rpartition(b"/")[0]] = answer.content
        else:
            logger.warning("%s is not honoured: %s", display(from_bytes(path)), answer)
    return contents
