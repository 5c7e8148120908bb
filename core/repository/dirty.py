"""Whether a work tree differs from its commit, by status alone where that proves it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from core.repository.facts import Skip, SkipReason
from core.repository.git_directory import GitDirectory
from core.repository.git_tree import TreeFile
from core.repository.listing import Lister
from core.repository.reader import FileReader
from core.repository.tracked import TrackedFile

_EXECUTABLE = 0o100


@dataclass(frozen=True, slots=True)
class WorkTreeComparison:
    """Compares index and work tree with a commit; reads only files whose status proves nothing."""

    git: GitDirectory
    lister: Lister
    reader: FileReader

    def is_dirty(self, committed: Iterator[TreeFile | Skip], tracked: Iterator[TrackedFile]) -> bool | None:
        """Whether they differ; stops at the first difference.

        None if everything comparable agrees and some file is not: Git converts it, or a whole
        directory is left out of a sparse checkout.
        """
        undecided = False
        for in_commit, in_index in zip_longest(committed, tracked):
            if in_index is None or in_index.is_conflicted:
                return True
            if stat.S_ISDIR(in_index.indexed.mode):
                return None
            if not _same(in_commit, in_index):
                return True
            if not in_index.is_submodule and in_index.is_expected:
                differs = self._differs(in_index)
                if differs:
                    return True
                undecided = undecided or differs is None
        return None if undecided else False

    def _differs(self, tracked: TrackedFile) -> bool | None:
        name = tracked.indexed.name
        status = self.lister.look(name)
        is_link = stat.S_ISLNK(tracked.indexed.mode)
        if isinstance(status, Skip):
            if not is_link or status.reason is not SkipReason.SYMLINK:
                return True
            content: bytes | Skip = self.lister.link_target(name)
        elif is_link:
            return True
        elif tracked.is_clean(status):
            return False
        elif self.lister.is_converted(name):
            return None
        else:
            content = self.reader.read(self.lister.entry(name, status), status.st_size)
        return isinstance(content, Skip) or self.git.blob_id(content).encode() != tracked.indexed.sha


def _same(in_commit: TreeFile | Skip | None, in_index: TrackedFile) -> bool:
    indexed = in_index.indexed
    return (
        isinstance(in_commit, TreeFile)
        and in_commit.path == indexed.name
        and in_commit.blob.encode() == indexed.sha
        and stat.S_IFMT(in_commit.mode) == stat.S_IFMT(indexed.mode)
        and in_commit.mode & _EXECUTABLE == indexed.mode & _EXECUTABLE
    )
