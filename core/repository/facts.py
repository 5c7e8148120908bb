"""Facts about files, and the port through which a repository is listed and read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, Protocol


class SkipReason(StrEnum):
    """Why a file is not published. `sentence` says it to a person; a fault makes the command exit 1."""

    SYMLINK = "symlink"
    SPECIAL_FILE = "special_file"
    OUTSIDE_REPOSITORY = "outside_repository"
    SUBMODULE = "submodule"
    LFS_POINTER = "lfs_pointer"
    VANISHED = "vanished"
    CHANGED_WHILE_READ = "changed_while_read"
    UNREADABLE = "unreadable"
    TEST_EXCLUDED = "test_excluded"
    TOO_LARGE = "too_large"
    INFEASIBLE = "infeasible"
    CONFLICTED = "conflicted"
    CORRUPT_OBJECT = "corrupt_object"

    @property
    def sentence(self) -> str:
        return _SKIPS[self][0]

    @property
    def is_fault(self) -> bool:
        """True where the user expects the file and does not get it."""
        return _SKIPS[self][1]


_SKIPS: dict[SkipReason, tuple[str, bool]] = {
    SkipReason.SYMLINK: ("a symbolic link; links are not followed", False),
    SkipReason.SPECIAL_FILE: ("not a regular file", False),
    SkipReason.OUTSIDE_REPOSITORY: ("its path leaves the repository", True),
    SkipReason.SUBMODULE: ("a submodule; ingest its own repository", False),
    SkipReason.LFS_POINTER: ("a Git LFS pointer; its content is not in the repository", False),
    SkipReason.VANISHED: ("listed, but gone when it was read", True),
    SkipReason.CHANGED_WHILE_READ: ("changed while it was read", True),
    SkipReason.UNREADABLE: ("cannot be read", True),
    SkipReason.TEST_EXCLUDED: ("a test, and tests are excluded", False),
    SkipReason.TOO_LARGE: ("too large for every configured strategy", True),
    SkipReason.INFEASIBLE: ("the chosen strategy cannot carry it", True),
    SkipReason.CONFLICTED: ("in an unresolved merge conflict", True),
    SkipReason.CORRUPT_OBJECT: ("its Git object is missing or corrupt", True),
}


@dataclass(frozen=True, slots=True)
class Skip:
    """A file that is not published: which, why, and the detail of this case in words."""

    path: str
    reason: SkipReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A listed file before it is read.

    `path` is relative, POSIX, with surrogate escapes for bytes that are not UTF-8. `size` in bytes;
    `mtime_ns` is None for a file of a commit. `blob` is the Git object id the file is known to equal
    (index entry proven clean, or the tree's entry), else None. Overrides come from `.gitattributes`.
    """

    path: str
    size: int
    mtime_ns: int | None
    mode: int
    blob: str | None = None
    language_override: str | None = None
    generated: bool | None = None
    vendored: bool | None = None


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of a file once its content was seen.

    `encoding` is the text encoding (`utf-8`, `utf-8-sig`, `utf-16`, `latin-1`, `shift_jis`, …), None
    if binary. `checksum` is `sha256:<hex>`, None where the bytes were not read whole.
    """

    entry: Entry
    language: str | None
    is_binary: bool
    encoding: str | None
    is_test: bool
    is_generated: bool
    is_vendored: bool
    checksum: str | None

    @property
    def path(self) -> str:
        return self.entry.path

    @property
    def size(self) -> int:
        return self.entry.size


@dataclass(frozen=True, slots=True)
class GitState:
    """Where a repository stands. `remote_url` is without userinfo; `dirty` is None when not asked."""

    commit: str | None
    branch: str | None
    remote_url: str | None
    dirty: bool | None = None


class Repository(Protocol):
    """A work tree, a plain directory, or a commit; every method is synchronous and blocking."""

    name: str

    def git_state(self) -> GitState | None:
        """None outside Git."""
        ...

    def entries(self) -> Iterator[Entry | Skip]:
        """Every file in path order (bytes), streaming; nothing is read but directory data and stats."""
        ...

    def read(self, entry: Entry, limit: int) -> bytes | Skip:
        """The whole content if at most `limit` bytes, else its first `limit` bytes.

        A file that vanished, grew, shrank or cannot be read is a Skip, never other bytes.
        """
        ...

    def open(self, entry: Entry) -> BinaryIO | Skip:
        """The content as a stream, for files too large to hold; the caller closes it."""
        ...

    def close(self) -> None: ...
