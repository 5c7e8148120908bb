"""Facts about files, and the port through which a repository is listed and read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import BinaryIO, Protocol, runtime_checkable

from core.errors import PermanentError
from core.safety.display import display


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
    DELETED = "deleted"
    SPARSE = "sparse"

    @property
    def sentence(self) -> str:
        return _SKIPS[self][0]

    @property
    def is_fault(self) -> bool:
        """True where the user expects the file and does not get it."""
        return _SKIPS[self][1]

    @property
    def hides(self) -> bool:
        """True where the path, and what may lie below it, can be there all the same: it is not deleted."""
        return self.is_fault or self is SkipReason.SPARSE


# Excluded tests are not among them: their records stay as they are.
_UNPUBLISHABLE = frozenset([SkipReason.LFS_POINTER, SkipReason.TOO_LARGE, SkipReason.INFEASIBLE])

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
    SkipReason.INFEASIBLE: ("no strategy could deliver it", True),
    SkipReason.CONFLICTED: ("in an unresolved merge conflict", True),
    SkipReason.CORRUPT_OBJECT: ("its Git object is missing or corrupt", True),
    SkipReason.DELETED: ("tracked, but deleted from the work tree", False),
    SkipReason.SPARSE: ("outside the sparse checkout", False),
}


@dataclass(frozen=True, slots=True)
class Skip:
    """A file that is not published: which, why, and the detail of this case in words.

    `facts` are those of a file that was looked at and that no strategy can carry. `temporary`: a backend
    failed, or the remote lacks the commit, so that a later run may publish the file as it is.
    """

    path: str
    reason: SkipReason
    detail: str = ""
    facts: FileFacts | None = field(default=None, repr=False, compare=False)
    temporary: bool = field(default=False, compare=False)

    @property
    def is_unpublishable(self) -> bool:
        """Whether the file is known, and is not to be published as it is: no older record of it is right."""
        return self.reason in _UNPUBLISHABLE and not self.temporary

    @property
    def is_stale(self) -> bool:
        """Whether an older record of the file stays, and may be out of date."""
        return self.reason.is_fault and not self.is_unpublishable


class ReadInterrupted(PermanentError):
    """Streaming a file stopped because it is no longer the file that was listed; `skip` says why."""

    reason = "read_interrupted"

    def __init__(self, skip: Skip) -> None:
        super().__init__(f"{display(skip.path)}: {skip.reason.sentence}")
        self.skip = skip


@dataclass(frozen=True, slots=True)
class Entry:
    """A listed file before it is read.

    `path` is relative, POSIX, with surrogate escapes for bytes that are not UTF-8. `size` in bytes;
    `mtime_ns` is None for a file of a commit. `blob` is the Git object id whose bytes the file is
    known to have (index entry proven clean and not converted, or the tree's entry), else None.
    `version` is a token for the bytes: two listings that show the same token for a path saw the same
    bytes; None promises nothing. Overrides come from `.gitattributes`. `unread`: the content stays on
    the Git host, whose trees tell no sizes; `size` is 0 then.
    """

    path: str
    size: int
    mtime_ns: int | None
    mode: int
    blob: str | None = None
    version: str | None = None
    language_override: str | None = None
    generated: bool | None = None
    vendored: bool | None = None
    unread: bool = False

    @property
    def known_size(self) -> int | None:
        """The size where it is known."""
        return None if self.unread else self.size


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of a file once its content was seen, or by its path alone where it stays unread.

    `encoding` is the text encoding (`utf-8`, `utf-8-sig`, `utf-16`, `latin-1`, `shift_jis`, …), None
    if binary or unread. `checksum` is `sha256:<hex>`, None where the bytes were not read whole.
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
    """Where a repository stands.

    `remote_url` carries no password and no HTTP userinfo. `prefix` is where the listed directory lies
    in the repository, `""` or with a trailing slash: paths in Git are `prefix` + path.
    """

    commit: str | None
    branch: str | None
    remote_url: str | None
    prefix: str = ""


@runtime_checkable
class Countable(Protocol):
    """A repository that knows how many files it lists without listing them."""

    def count_files(self) -> int:
        """At most so many; for progress, not for proof."""
        ...


class Repository(Protocol):
    """A work tree, a plain directory, or a commit; every method is synchronous and blocking.

    `read` and `open` may be called from several threads, also while `entries` is being iterated.
    """

    @property
    def name(self) -> str: ...

    def git_state(self) -> GitState | None:
        """None outside Git. Raises PermanentError if HEAD is corrupt."""
        ...

    def is_dirty(self) -> bool | None:
        """Whether tracked files differ from the commit; None outside Git or where it cannot be told."""
        ...

    def entries(self) -> Iterator[Entry | Skip]:
        """Every file in path order (bytes), streaming: memory does not grow with the repository.

        Raises PermanentError if the listing itself (index, tree) is corrupt.
        """
        ...

    def read(self, entry: Entry, limit: int) -> bytes | Skip:
        """The whole content if at most `limit` bytes, else its first `limit` bytes.

        A file that vanished, changed since it was listed or cannot be read is a Skip, never other bytes.
        """
        ...

    def open(self, entry: Entry) -> BinaryIO | Skip:
        """The content as a stream, for files too large to hold; the caller closes it.

        Reading it to its end either yields exactly the listed bytes or raises ReadInterrupted.
        """
        ...

    def close(self) -> None: ...
