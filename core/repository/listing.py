"""From a name below a root to an entry: its status, its attributes, a token for its bytes."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from core.errors import UnsafeInput
from core.repository.attributes import FILE_NAME, AttributeRules, Rule
from core.repository.directories import DirectoryCursor
from core.repository.facts import Entry, Skip, SkipReason
from core.repository.reader import special_kind
from core.repository.tree_walk import read_rules
from core.safety.path import check_relative_path, from_bytes

Clock = Callable[[], int]

# A file changed this recently (ns) may change again without its times showing it: 50 ms covers the
# ticks of kernels, two seconds those of file systems that keep whole seconds (FAT).
_TICK = 50_000_000
_COARSE_TICK = 2_000_000_000
_SECOND = 1_000_000_000


class Lister:
    """Looks at files below `root`, in path order, without reading them.

    Paths given are relative to `root`; entries are named relative to its directory `prefix`.
    `clock` is wall-clock time in ns. Close it after use.
    """

    def __init__(
        self,
        root: Path,
        *,
        prefix: bytes = b"",
        weakest: tuple[Rule, ...] = (),
        strongest: tuple[Rule, ...] = (),
        converts: bool = False,
        clock: Clock = time.time_ns,
    ) -> None:
        self._cursor = DirectoryCursor(root)
        self._cut = len(from_bytes(prefix))
        self._attributes = AttributeRules(
            self._load_attributes, weakest=weakest, strongest=strongest, converts=converts
        )
        self._now = clock()

    def name(self, path: bytes) -> str:
        """The name of `path` in entries and skips."""
        return from_bytes(path)[self._cut :]

    def look(self, path: bytes) -> os.stat_result | Skip:
        """The status of a regular file, or why it is none; a missing one is VANISHED."""
        directory, _, name = path.rpartition(b"/")
        try:
            check_relative_path(from_bytes(path))
        except UnsafeInput:
            return Skip(self.name(path), SkipReason.OUTSIDE_REPOSITORY)
        try:
            status = os.stat(name, dir_fd=self._cursor.enter(directory), follow_symlinks=False)
        except UnsafeInput as error:
            return Skip(self.name(path), SkipReason.SYMLINK, str(error))
        except (FileNotFoundError, NotADirectoryError):
            return Skip(self.name(path), SkipReason.VANISHED)
        except OSError as error:
            return Skip(self.name(path), SkipReason.UNREADABLE, error.strerror or "")
        if stat.S_ISREG(status.st_mode):
            return status
        if stat.S_ISLNK(status.st_mode):
            return Skip(self.name(path), SkipReason.SYMLINK)
        return Skip(self.name(path), SkipReason.SPECIAL_FILE, special_kind(status.st_mode))

    def link_target(self, path: bytes) -> bytes:
        """What the symbolic link `path`, just looked at, points to; empty if it is gone."""
        directory, _, name = path.rpartition(b"/")
        try:
            return os.readlink(name, dir_fd=self._cursor.enter(directory))
        except (OSError, UnsafeInput):
            return b""

    def is_converted(self, path: bytes) -> bool:
        """Whether Git may store other bytes for `path` than the work tree holds."""
        return self._attributes.of(path.rpartition(b"/")[0], from_bytes(path)).converted

    def entry(self, path: bytes, status: os.stat_result, blob: str | None = None) -> Entry:
        """The entry of a regular file; `blob` is what Git would store for it, if that is proven."""
        text = from_bytes(path)
        attributes = self._attributes.of(path.rpartition(b"/")[0], text)
        if attributes.converted:
            blob = None
        return Entry(
            text[self._cut :],
            status.st_size,
            status.st_mtime_ns,
            status.st_mode,
            blob,
            f"blob:{blob}" if blob is not None else self._version(status),
            attributes.language,
            attributes.generated,
            attributes.vendored,
        )

    def _version(self, status: os.stat_result) -> str | None:
        changed = status.st_ctime_ns  # unlike mtime, nobody can set it
        if self._now - changed < (_TICK if changed % _SECOND else _COARSE_TICK):
            return None
        return f"stat:{status.st_ino}.{status.st_size}.{status.st_mtime_ns}.{changed}"

    def _load_attributes(self, directory: bytes) -> bytes | None:
        return read_rules(self._cursor, directory + b"/" + FILE_NAME if directory else FILE_NAME)

    def close(self) -> None:
        """Give the descriptors back; idempotent."""
        self._cursor.close()
