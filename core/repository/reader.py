"""Reading listed files of a directory tree: exactly the bytes that were listed, or a reason."""

from __future__ import annotations

import io
import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from core.errors import UnsafeInput
from core.repository.directories import DirectoryCursor
from core.repository.facts import Entry, ReadInterrupted, Skip, SkipReason
from core.safety.path import check_relative_path, open_regular, to_bytes

if TYPE_CHECKING:
    from typing_extensions import Buffer


class FileReader:
    """Opens entries below `root` and checks before and after that they are what was listed."""

    def __init__(self, root: Path) -> None:
        self._cursor = DirectoryCursor(root)
        self._lock = threading.Lock()

    def read(self, entry: Entry, limit: int) -> bytes | Skip:
        """As `Repository.read`."""
        descriptor = self._open(entry)
        if isinstance(descriptor, Skip):
            return descriptor
        try:
            wanted = min(entry.size, limit)
            content = os.read(descriptor, wanted)
            while 0 < len(content) < wanted and (more := os.read(descriptor, wanted - len(content))):
                content += more
            if len(content) != wanted or _changed(entry, os.fstat(descriptor)):
                return Skip(entry.path, SkipReason.CHANGED_WHILE_READ)
            return content
        except OSError as error:
            return Skip(entry.path, SkipReason.UNREADABLE, error.strerror or "")
        finally:
            os.close(descriptor)

    def open(self, entry: Entry) -> BinaryIO | Skip:
        """As `Repository.open`."""
        descriptor = self._open(entry)
        if isinstance(descriptor, Skip):
            return descriptor
        return io.BufferedReader(_ListedFile(descriptor, entry))

    def _open(self, entry: Entry) -> int | Skip:
        try:
            directory, _, name = to_bytes(check_relative_path(entry.path)).rpartition(b"/")
        except UnsafeInput:
            return Skip(entry.path, SkipReason.OUTSIDE_REPOSITORY)
        try:
            with self._lock:
                descriptor, status = open_regular(name, self._cursor.enter(directory))
        except (OSError, UnsafeInput) as error:
            return skip_for(entry.path, error)
        if _changed(entry, status):
            os.close(descriptor)
            return Skip(entry.path, SkipReason.CHANGED_WHILE_READ)
        return descriptor

    def close(self) -> None:
        """Give the descriptors back; idempotent."""
        with self._lock:
            self._cursor.close()


class _ListedFile(io.RawIOBase):
    """A raw stream that refuses to end, or to go on, anywhere but at the listed size."""

    def __init__(self, descriptor: int, entry: Entry) -> None:
        self._descriptor = descriptor
        self._entry = entry
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        try:
            count = os.readv(self._descriptor, [buffer])
        except OSError as error:
            raise ReadInterrupted(skip_for(self._entry.path, error)) from error
        self._position += count
        at_end = count == 0 or self._position >= self._entry.size
        if at_end and _changed(self._entry, os.fstat(self._descriptor)):
            raise ReadInterrupted(Skip(self._entry.path, SkipReason.CHANGED_WHILE_READ))
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def skip_for(path: str, error: OSError | UnsafeInput) -> Skip:
    """The skip of a file that was listed and then could not be opened."""
    if isinstance(error, UnsafeInput):
        return Skip(path, SkipReason.CHANGED_WHILE_READ, str(error))
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return Skip(path, SkipReason.VANISHED)
    return Skip(path, SkipReason.UNREADABLE, error.strerror or "")


def special_kind(mode: int) -> str:
    """What a file that is not regular is, in words."""
    for test, name in _KINDS:
        if test(mode):
            return name
    return "not a file"


_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


def _changed(entry: Entry, status: os.stat_result) -> bool:
    return status.st_size != entry.size or status.st_mtime_ns != entry.mtime_ns
