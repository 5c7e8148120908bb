"""Files that Git's index tracks, and what their status in the work tree proves."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from dulwich.index import (
    EXTENDED_FLAG_INTEND_TO_ADD,
    EXTENDED_FLAG_SKIP_WORKTREE,
    FLAG_STAGEMASK,
    SerializedIndexEntry,
)
from dulwich.objects import S_ISGITLINK

from core.repository.facts import Entry, Skip, SkipReason
from core.repository.git_directory import GitDirectory
from core.repository.listing import Lister
from core.repository.split_index import open_index

_SECOND = 1_000_000_000
_LOW_32 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class TrackedFile:
    """An index entry, and when (ns) the index was written."""

    indexed: SerializedIndexEntry
    written: int

    @property
    def is_conflicted(self) -> bool:
        """Whether an unresolved merge left several versions of it."""
        return bool(self.indexed.flags & FLAG_STAGEMASK)

    @property
    def is_submodule(self) -> bool:
        """Whether it stands for a commit of another repository."""
        return S_ISGITLINK(self.indexed.mode)

    @property
    def is_expected(self) -> bool:
        """Whether it should be in the work tree: sparse checkouts leave files out."""
        return not (
            stat.S_ISDIR(self.indexed.mode) or self.indexed.extended_flags & EXTENDED_FLAG_SKIP_WORKTREE
        )

    def look(self, lister: Lister) -> Entry | Skip:
        """The entry of the file in the work tree, or why there is none."""
        name = self.indexed.name
        if self.is_conflicted:
            return Skip(lister.name(name), SkipReason.CONFLICTED)
        if self.is_submodule:
            return Skip(lister.name(name), SkipReason.SUBMODULE)
        if stat.S_ISDIR(self.indexed.mode):
            return Skip(lister.name(name.rstrip(b"/")), SkipReason.SPARSE, "a whole directory")
        status = lister.look(name)
        if not isinstance(status, Skip):
            return lister.entry(name, status, self.indexed.sha.decode() if self.is_clean(status) else None)
        if status.reason is SkipReason.VANISHED:
            return Skip(status.path, SkipReason.DELETED if self.is_expected else SkipReason.SPARSE)
        return status

    def is_clean(self, status: os.stat_result) -> bool:
        """Whether a regular file's status proves that it is what was added.

        Git's racy rule in ns: a file changed in the very tick in which the index was written may
        look unchanged (https://git-scm.com/docs/racy-git).
        """
        indexed = self.indexed
        return (
            _nanoseconds(indexed.mtime) == status.st_mtime_ns < self.written
            and _nanoseconds(indexed.ctime) == status.st_ctime_ns < self.written
            and indexed.size == status.st_size & _LOW_32
            and indexed.ino == status.st_ino & _LOW_32
            and stat.S_ISREG(indexed.mode)
            and not indexed.extended_flags & EXTENDED_FLAG_INTEND_TO_ADD
        )


def tracked_files(git: GitDirectory, prefix: bytes = b"") -> Iterator[TrackedFile]:
    """The index's files below `prefix`, in path order, each once, streaming.

    Raises PermanentError if the index is corrupt or of an unknown kind.
    """
    index = open_index(git.index(), git.object_format)
    if index is None:
        return
    with closing(index):
        written = index.written_ns
        previous = None
        for indexed in index.entries():
            if indexed.name == previous or not indexed.name.startswith(prefix):
                continue  # another stage of a conflict, or elsewhere
            previous = indexed.name
            yield TrackedFile(indexed, written)


def _nanoseconds(moment: object) -> int:
    return moment[0] * _SECOND + moment[1] if isinstance(moment, tuple) else -1
