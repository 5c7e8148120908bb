"""The cache itself: reserve -> partial file -> verify while writing -> publish, and verified reads."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import secrets
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from core.cache.base import Checkup, Tell, quiet
from core.cache.index import CacheIndex, NoRoom, Usage, open_index
from core.cache.shelf import DiskShelf
from core.errors import ArchonError, BackendUnavailable, ChecksumMismatch, ContentTooLarge
from core.machine import preallocate

logger = logging.getLogger(__name__)

_BLOCK: Final = 1 << 20


class Miss(StrEnum):
    """Why a lookup yields nothing."""

    ABSENT = "absent"
    MISSING = "missing"  # the index has it, its file is gone
    CORRUPT = "corrupt"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Entry:
    """An entry in use: it is not evicted while this object is referenced, so `path` stays readable."""

    path: Path
    size: int
    _descriptor: int = field(repr=False)

    @classmethod
    def holding(cls, path: Path, size: int, descriptor: int) -> Self:
        """Close `descriptor`, and so let the entry go, when the object is collected."""
        entry = cls(path, size, descriptor)
        weakref.finalize(entry, os.close, descriptor)
        return entry


@dataclass(frozen=True, slots=True)
class Cached:
    """A verified entry: `content` is all of it, or its beginning where `entry` is set."""

    content: bytes
    entry: Entry | None = None


class DiskCache:
    """Entries of one directory, at most `max_bytes` with reservations. Every method blocks.

    Safe for threads and for several processes on the same local directory. Keys are the SHA-256 of the
    content, in hex; no byte is handed out that does not match its key.
    """

    def __init__(
        self, directory: Path, max_bytes: int, *, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self._clock_ns = clock_ns
        self._shelf = DiskShelf(directory)
        self._opened: CacheIndex | None = None

    def open(self, *, scan: bool = True) -> int:
        """Open the directory, made as needed; the number of entries evicted.

        `scan` makes the index agree with the files and sweeps what crashed processes left. An index that
        is damaged is made anew. Raises `ConfigurationError` or `BackendUnavailable`.
        """
        try:
            self._shelf.make()
        except OSError as error:
            raise BackendUnavailable(
                f"the cache directory {self.directory} cannot be made: {error.strerror}", hint="see cache.dir"
            ) from None
        path = self.directory / "index.db"
        self._opened, evicted = open_index(
            path, self.max_bytes, self._shelf, scan=scan, clock_ns=self._clock_ns
        )
        return evicted

    @property
    def is_gone(self) -> bool:
        """Whether somebody removed the directory of the open cache."""
        return self._opened is not None and not self._opened.path.exists()

    def make_again(self) -> None:
        """Open a directory that was removed anew, empty. Raises as `open`."""
        before = self._opened
        self.open()
        if before:
            before.close()

    def close(self) -> None:
        """Idempotent; entries handed out stay in use."""
        index, self._opened = self._opened, None
        if index:
            index.close()

    @property
    def index(self) -> CacheIndex:
        """The books of the open cache."""
        if self._opened is None:
            raise BackendUnavailable(f"the cache {self.directory} is closed")
        return self._opened

    def get(self, key: str, *, hold: int, head: int) -> Cached | Miss:
        """An entry, read and verified; a corrupt one is evicted.

        Up to `hold` bytes it comes whole; of a larger one the first `head` bytes come with the `Entry`.
        """
        return self._lookup(key, hold=hold, head=head, touch=True)

    def _lookup(self, key: str, *, hold: int, head: int, touch: bool) -> Cached | Miss:
        try:
            descriptor = self._shelf.open(key)
            if descriptor is None:
                return Miss.MISSING if self.index.drop_if_known(key) else Miss.ABSENT
        except (OSError, ArchonError) as error:
            logger.warning("the cache %s cannot be read: %s", self.directory, error)
            return Miss.UNREADABLE
        keep = False
        try:
            content, size, digest = _read(descriptor, hold, head)
            if digest == key:
                if touch:
                    now = self._clock_ns()
                    os.utime(descriptor, ns=(now, now))
                keep = size > hold
                entry = Entry.holding(self._shelf.path(key), size, descriptor) if keep else None
                return Cached(content, entry)
        except OSError as error:
            logger.warning("a cache entry cannot be read and is evicted: %s", error)
        finally:
            if not keep:
                os.close(descriptor)
        with suppress(ArchonError):
            self.index.drop(key)
        return Miss.CORRUPT

    def reserve(self, key: str, size: int) -> Writer:
        """Begin an entry of exactly `size` bytes; the space is taken from now on.

        Raises `NoRoom` when it does not fit, the disk is full or the directory cannot be written.
        """
        token = secrets.token_hex(16)
        created: list[int] = []
        try:
            evicted = self.index.reserve(token, key, size, lambda: created.append(self._shelf.create(token)))
            if size:
                preallocate(created[0], size)
        except NoRoom:
            raise
        except (OSError, ArchonError) as error:
            if created:
                os.close(created[0])
                self._discard(token)
            raise no_room(error) from None
        return Writer(self.index, self._shelf, key, token, size, created[0], evicted, self._clock_ns)

    def _discard(self, token: str) -> None:
        with suppress(OSError, ArchonError):
            self.index.release(token, lambda: self._shelf.partial(token).unlink(missing_ok=True))

    def clear(self) -> tuple[int, int]:
        """Remove every entry not in use; their number and bytes."""
        return self.index.clear()

    def verify(self, tell: Tell = quiet) -> Checkup:
        """Read every entry; those that are corrupt are evicted. What is evicted meanwhile is not corrupt."""
        read = total = corrupt = 0
        known = self.index.known()
        for key in known:
            tell(read, len(known))
            size = self._shelf.size(key)
            found = self._lookup(key, hold=0, head=0, touch=False)
            read += 1
            total += size or 0
            if found is Miss.MISSING:  # evicted a moment ago, or damaged: a second look tells
                found = self._lookup(key, hold=0, head=0, touch=False)
            corrupt += isinstance(found, Miss) and found is not Miss.ABSENT
        return Checkup(read, total, corrupt)

    def usage(self) -> Usage:
        """Bytes and numbers of entries and reservations."""
        return self.index.usage()


class Writer:
    """An entry being written. Ends in `commit` or `abort`; a process that dies counts as aborting."""

    def __init__(
        self,
        index: CacheIndex,
        shelf: DiskShelf,
        key: str,
        token: str,
        size: int,
        descriptor: int,
        evicted: int,
        clock_ns: Callable[[], int],
    ) -> None:
        self.key = key
        self.size = size
        self.evicted = evicted
        self._index = index
        self._shelf = shelf
        self._token = token
        self._descriptor = descriptor
        self._clock_ns = clock_ns
        self._digest = hashlib.sha256()
        self._written = 0
        self._ended = False

    def write(self, block: bytes) -> None:
        """Append. Raises `ContentTooLarge` beyond the reserved size, `NoRoom` when the disk is full."""
        if self._written + len(block) > self.size:
            raise ContentTooLarge(f"more than the expected {self.size:,} B arrived")
        view = memoryview(block)
        try:
            while view:
                count = os.pwrite(self._descriptor, view, self._written)
                self._digest.update(view[:count])
                self._written += count
                view = view[count:]
        except OSError as error:
            raise no_room(error) from None

    def commit(self) -> Entry:
        """Verify, make durable and publish; the entry stays in use while the answer is referenced.

        Raises `ChecksumMismatch` if the bytes are not the key's, `NoRoom` when the disk refuses.
        """
        if self._written != self.size or self._digest.hexdigest() != self.key:
            self.abort()
            raise ChecksumMismatch(
                f"{self._written:,} B arrived that are not sha256:{self.key[:12]}… of {self.size:,} B"
            )
        try:
            os.fsync(self._descriptor)
            self._index.publish(self._token, self.key, self.size, self._place)
        except (OSError, ArchonError) as error:
            self.abort()
            raise no_room(error) from None
        self._ended = True
        return Entry.holding(self._shelf.path(self.key), self.size, self._descriptor)

    def _place(self) -> None:
        self._shelf.place(self._token, self.key, self._clock_ns())
        # Under the index's lock nobody evicts, so that the change of lock leaves no gap.
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def abort(self) -> None:
        """Give the space back. Idempotent, and nothing after `commit`."""
        if self._ended:
            return
        self._ended = True
        with suppress(OSError, ArchonError):
            self._index.release(self._token, lambda: self._shelf.partial(self._token).unlink(missing_ok=True))
        os.close(self._descriptor)


def no_room(error: OSError | ArchonError) -> NoRoom:
    """What a disk or index that refuses means: serve without cache."""
    if isinstance(error, OSError):
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        return NoRoom(f"the cache's disk refuses: {error.strerror}", "disk_full" if full else "disk_error")
    return NoRoom(str(error), "index_unavailable")


def _read(descriptor: int, hold: int, head: int) -> tuple[bytes, int, str]:
    """The content up to `hold` bytes or else its `head`, its size, and the SHA-256 of all of it."""
    size = os.fstat(descriptor).st_size
    if size <= hold:
        content = os.pread(descriptor, size, 0)
        while len(content) < size and (more := os.pread(descriptor, size - len(content), len(content))):
            content += more
        return content, size, hashlib.sha256(content).hexdigest()
    digest = hashlib.sha256()
    offset = 0
    while block := os.pread(descriptor, _BLOCK, offset):
        digest.update(block)
        offset += len(block)
    return os.pread(descriptor, head, 0), size, digest.hexdigest()
