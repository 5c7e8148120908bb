"""The files of a cache directory: where they lie, and who is using them.

`objects/ab/<hex>` are entries, `partial/<token>` is work not yet published. Use is a flock(2) lock, which
ends with the process that holds it however it ends: shared on an entry being read, exclusive on a
partial file being written. A file's modification time is when it was last used.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from core.safety.private import make_private

_KEY = re.compile(r"[0-9a-f]{64}")
_READ = os.O_RDONLY | os.O_NOFOLLOW
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class DiskShelf:
    """Files named by the SHA-256 of their content. Methods raise OSError as the system calls do."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._objects = directory / "objects"
        self._partial = directory / "partial"

    def make(self) -> None:
        """Make the directories, readable by their owner only: contents may be private source code."""
        for directory in (self.directory, self._objects, self._partial):
            make_private(directory)

    def path(self, key: str) -> Path:
        """Where an entry is, or would be."""
        return self._objects / key[:2] / key

    def partial(self, token: str) -> Path:
        """Where the work of a reservation is."""
        return self._partial / token

    def create(self, token: str) -> int:
        """A descriptor of a new, empty partial file that counts as being worked on until it is closed."""
        descriptor = os.open(self.partial(token), _CREATE, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor

    def place(self, token: str, key: str, used_ns: int) -> None:
        """Make finished work an entry, atomically."""
        target = self.path(key)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        os.utime(self.partial(token), ns=(used_ns, used_ns))
        self.partial(token).rename(target)

    def open(self, key: str) -> int | None:
        """A descriptor of an entry that keeps it from being evicted until it is closed; None if absent."""
        try:
            descriptor = os.open(self.path(key), _READ)
        except FileNotFoundError:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # evicted between open and lock
        return None

    def entries(self) -> Iterator[tuple[str, int, int]]:
        """(key, bytes, last use) of every entry; anything else found among them is left out."""
        for shard in os.scandir(self._objects):
            if not shard.is_dir(follow_symlinks=False):
                continue
            for item in os.scandir(shard):
                if _KEY.fullmatch(item.name) and item.name.startswith(shard.name):
                    status = item.stat(follow_symlinks=False)
                    yield item.name, status.st_size, status.st_mtime_ns

    def last_used(self, key: str) -> int | None:
        status = self._status(key)
        return status.st_mtime_ns if status else None

    def size(self, key: str) -> int | None:
        status = self._status(key)
        return status.st_size if status else None

    def remove(self, key: str, *, even_in_use: bool = False) -> bool:
        return _unlink(self.path(key), even_in_use=even_in_use)

    def sweep(self) -> None:
        for item in os.scandir(self._partial):
            _unlink(Path(item.path), even_in_use=False)

    def at_work(self, token: str) -> bool:
        return self.partial(token).exists()

    def _status(self, key: str) -> os.stat_result | None:
        try:
            return self.path(key).lstat()
        except FileNotFoundError:
            return None


def _unlink(path: Path, *, even_in_use: bool) -> bool:
    """Remove a file unless somebody holds a lock on it; True if it is gone."""
    if even_in_use:
        path.unlink(missing_ok=True)
        return True
    try:
        descriptor = os.open(path, _READ)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(FileNotFoundError):
            path.unlink()
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
