"""A pack that is not trusted yet: written to a temporary file, hashed on the way, then scanned."""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Self

from dulwich.object_format import ObjectFormat
from dulwich.objects import RawObjectID
from dulwich.pack import extend_pack

from core.errors import BackendUnavailable
from core.git.errors import CorruptPack
from core.git.pack_index import RELEASE_BYTES, IndexEntry, Outside, PackScanner, nothing_outside

INCOMING: Final = "incoming-"
_SMALLEST: Final = 12


class Scanned(NamedTuple):
    """What a pack holds, sorted by id."""

    entries: list[IndexEntry]
    has_blobs: bool


class Incoming:
    """A file in `directory` that vanishes on exit unless it was renamed.

    Its lock tells it from the file of a process that was killed.
    """

    def __init__(self, directory: Path, object_format: ObjectFormat) -> None:
        with disk_refusals():
            descriptor, name = tempfile.mkstemp(prefix=INCOMING, dir=directory)
        self.path = Path(name)
        self.size = 0
        self.checksum = b""
        self.grow: Callable[[int], None] = _unlimited
        self._format = object_format
        self._file: BinaryIO = os.fdopen(descriptor, "w+b", 1 << 18)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._hash = object_format.new_hash()
        self._tail = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)
        # Closing flushes what a full disk refused before; that was reported then.
        with suppress(OSError):
            self._file.close()

    @property
    def name(self) -> str:
        """The name of the pack once it is visible."""
        return f"pack-{self.checksum.hex()}"

    def write(self, data: bytes) -> int:
        """Add a part of the pack. Its last bytes are the checksum and are not hashed themselves.

        `grow` is told the size first and may refuse. Raises `BackendUnavailable` when the disk does.
        """
        self.grow(len(data))
        with disk_refusals():
            self._file.write(data)
        self.size += len(data)
        held = self._tail + data
        cut = max(len(held) - self._format.oid_length, 0)
        self._hash.update(held[:cut])
        self._tail = held[cut:]
        return len(data)

    def seal(self) -> None:
        """Add the checksum to a pack that was written without it."""
        self._hash.update(self._tail)
        self._tail = self.checksum = self._hash.digest()
        with disk_refusals():
            self._file.write(self.checksum)
            self._file.flush()
        self.size += len(self.checksum)

    def scan(self, limit: int, check: Callable[[], None], outside: Outside = nothing_outside) -> Scanned:
        """Verify the checksum and every object, and add the bases that a thin pack took from `outside`.

        Raises `CorruptPack` or `ContentTooLarge`.
        """
        with disk_refusals():
            self._file.flush()
        self.checksum = self._hash.digest()
        if self.size < _SMALLEST + self._format.oid_length or self._tail != self.checksum:
            raise CorruptPack("a pack is not what its checksum says")
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as contents:
            scanner = PackScanner(contents, self._format, limit, check, outside)
            scanned = Scanned(scanner.scan(), scanner.has_blobs)
        if scanner.borrowed:
            self._complete(scanned.entries, scanner.borrowed, outside)
        return scanned

    def _complete(self, entries: list[IndexEntry], borrowed: list[bytes], outside: Outside) -> None:
        ids = {RawObjectID(oid) for oid in borrowed}
        with disk_refusals():
            checksum, added = extend_pack(self._file, ids, get_raw=outside, object_format=self._format)
            self._file.flush()
        self.checksum = checksum
        self.size = os.fstat(self._file.fileno()).st_size
        entries += [IndexEntry(oid, offset, crc32) for oid, offset, crc32 in added]
        entries.sort()


@contextmanager
def disk_refusals() -> Iterator[None]:
    """Turn a full or failing disk into `BackendUnavailable`, which is not the host's fault."""
    try:
        yield
    except OSError as error:
        raise BackendUnavailable(
            f"the clone cache's disk refuses: {error.strerror}", hint="see git.clone_cache_dir"
        ) from None


def _unlimited(_: int) -> None:
    """Room for everything."""


def in_use(path: Path) -> bool:
    """Whether a live process is writing the temporary file at `path`."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def scan_file(path: Path, object_format: ObjectFormat, limit: int) -> list[IndexEntry]:
    """Every object of the pack at `path`, each byte checked. Raises `CorruptPack` or OSError."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as contents:
        end = len(contents) - object_format.oid_length
        digest = object_format.new_hash()
        for start in range(0, end, RELEASE_BYTES):
            digest.update(contents[start : min(start + RELEASE_BYTES, end)])
            contents.madvise(mmap.MADV_DONTNEED)
        if digest.digest() != contents[end:]:
            raise CorruptPack("a pack is not what its checksum says")
        return PackScanner(contents, object_format, limit, lambda: None).scan()
