"""The directories of the clone cache: one per repository and credential scope, in use while locked.

`clones/<key>/packs` holds objects, `clones/<key>/commits` the file lists of commits. Use is a shared
flock(2) on `clones/<key>/use`, whose modification time is the last use. Eviction takes it exclusively,
so it never removes what is being read, and moves the directory to `trash`; `empty_trash` deletes it there.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from core.git.incoming import INCOMING, in_use
from core.safety.private import make_private

USE: Final = "use"
PACKS: Final = "packs"
COMMITS: Final = "commits"


class CloneShelf:
    """The `Shelf` of `core.cache.index` over directories.

    A reservation's token is `<key>/<incoming file>#<number>`.
    """

    def __init__(self, directory: Path) -> None:
        self.clones = directory / "clones"
        self._trash = directory / "trash"

    def make(self) -> None:
        """Make the directories, readable by their owner only: they hold private source code."""
        for directory in (self.clones.parent, self.clones, self._trash):
            make_private(directory)

    def path(self, key: str) -> Path:
        """Where a clone is, or would be."""
        return self.clones / key

    def acquire(self, key: str, used_ns: int) -> int:
        """A descriptor that keeps the clone `key`, made as needed, from being evicted until it is closed."""
        while True:
            try:
                descriptor = self.hold(key)
            except FileNotFoundError:  # it is new, was evicted just now, or all was removed
                self.make()
                self._make_clone(self.path(key))
                continue
            os.utime(descriptor, ns=(used_ns, used_ns))
            return descriptor

    def hold(self, key: str) -> int:
        """As `acquire`, without counting as use. Raises FileNotFoundError if there is no such clone."""
        descriptor = os.open(self.path(key) / USE, os.O_RDWR | os.O_NOFOLLOW)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        status = os.fstat(descriptor)
        if self.identity(key) == (status.st_dev, status.st_ino):
            return descriptor
        os.close(descriptor)
        raise FileNotFoundError(key)

    def _make_clone(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            for directory in (path, path / PACKS, path / COMMITS):
                directory.mkdir(mode=0o700, exist_ok=True)
            os.close(os.open(path / USE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))

    def identity(self, key: str) -> tuple[int, int] | None:
        """What tells a clone from a later one with the same key; None if there is none."""
        try:
            status = (self.path(key) / USE).stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def entries(self) -> Iterator[tuple[str, int, int]]:
        """(key, bytes, last use) of every clone."""
        for item in os.scandir(self.clones):
            used = self.last_used(item.name)
            if used is not None:
                yield item.name, self.size(item.name) or 0, used

    def last_used(self, key: str) -> int | None:
        try:
            return (self.path(key) / USE).stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def size(self, key: str) -> int | None:
        if self.last_used(key) is None:
            return None
        total = 0
        for name in (PACKS, COMMITS):
            for item in os.scandir(self.path(key) / name):
                # What is still coming in is in its reservation; what vanishes is not here any more.
                with suppress(FileNotFoundError):
                    total += 0 if item.name.startswith(INCOMING) else item.stat().st_size
        return total

    def remove(self, key: str, *, even_in_use: bool = False) -> bool:
        try:
            descriptor = os.open(self.path(key) / USE, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            shutil.rmtree(self.path(key), ignore_errors=True)
            return True
        try:
            if not even_in_use:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            trash = self._trash / secrets.token_hex(16)
            self.path(key).rename(trash)
        except BlockingIOError:
            return False
        except FileNotFoundError:
            return True
        finally:
            os.close(descriptor)
        return True

    def sweep(self) -> None:
        """What dead processes left is in `trash`, see `empty_trash`, or is swept with its clone."""

    def empty_trash(self) -> None:
        """Delete what was evicted, by whatever process. Not under the index's lock: it takes long."""
        with suppress(FileNotFoundError):  # somebody removed the whole directory
            for item in os.scandir(self._trash):
                shutil.rmtree(item.path, ignore_errors=True)

    def at_work(self, token: str) -> bool:
        key, _, name = token.partition("#")[0].partition("/")
        path = self.path(key) / PACKS / name
        if path.exists() and in_use(path):
            return True
        path.unlink(missing_ok=True)
        return False
