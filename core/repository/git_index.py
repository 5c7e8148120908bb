"""One file of Git's index, streamed: its entries in order, never all of them in memory.

Versions 2 to 4, SHA-1 and SHA-256. Format: https://git-scm.com/docs/index-format. dulwich reads neither
the prefixes of version 4 nor names of 4,095 bytes and more, so that only its type of an entry is used.
"""

from __future__ import annotations

import io
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from dulwich.index import FLAG_EXTENDED, FLAG_NAMEMASK, FLAG_STAGEMASK, SerializedIndexEntry
from dulwich.object_format import ObjectFormat
from dulwich.objects import RawObjectID, sha_to_hex

from core.errors import PermanentError
from core.safety.display import display

_CHUNK = 1 << 16
_HEADER = struct.Struct(">4sLL")
_VERSIONS = (2, 3, 4)
# Git's own mark of an extension that changes what the entries mean is a name that starts with no capital.
_REQUIRED_KNOWN = frozenset([b"link", b"sdir"])


class Extension(NamedTuple):
    """Its name, and where its data lies in the file, in bytes."""

    name: bytes
    offset: int
    size: int


class IndexFile:
    """An index file whose checksum is right; the caller closes it.

    `entries` may be read several times, also at once: every iterator has its own position.
    """

    def __init__(self, path: Path, object_format: ObjectFormat) -> None:
        """Raises FileNotFoundError; PermanentError where it is unreadable, corrupt or of a newer Git."""
        self._object_format = object_format
        self._fixed = struct.Struct(f">10L{object_format.oid_length}sH")
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise PermanentError(f"cannot read the Git index: {error.strerror}") from None
        try:
            status = os.fstat(self._descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise PermanentError(f"{display(str(path))} is not a regular file")
            self.written_ns = status.st_mtime_ns
            self._end = status.st_size - object_format.oid_length
            with corruption():
                self.checksum = self._verified_checksum()
                self.version, self.count = self._header()
                self.extensions = tuple(self._extensions())
        except BaseException:
            self.close()
            raise

    def entries(self) -> Iterator[SerializedIndexEntry]:
        """The entries in path order; conflicted paths appear once per stage, entries without a name first.

        Raises PermanentError if an entry is malformed or out of order.
        """
        previous = (b"", -1)
        with corruption(), self._open() as stream:
            for name, fields, extended in self._rows(stream):
                flags = fields[-1]
                position = (name, flags & FLAG_STAGEMASK)
                if position <= previous and (name or previous[0]):
                    raise ValueError(f"{name!r} is out of order")
                previous = position
                ctime, mtime = (fields[0], fields[1]), (fields[2], fields[3])
                dev, ino, mode, uid, gid, size = fields[4:10]
                yield SerializedIndexEntry(
                    name, ctime, mtime, dev, ino, mode, uid, gid, size,
                    sha_to_hex(RawObjectID(fields[10])), flags & ~FLAG_NAMEMASK, extended,
                )  # fmt: skip

    def data(self, extension: Extension) -> bytes:
        """The data of one of `extensions`."""
        return os.pread(self._descriptor, extension.size, extension.offset)

    def close(self) -> None:
        os.close(self._descriptor)

    def _open(self) -> BinaryIO:
        return io.BufferedReader(_Positioned(self._descriptor), _CHUNK)

    def _verified_checksum(self) -> bytes:
        digest = self._object_format.new_hash()
        with self._open() as stream:
            remaining = self._end
            while remaining > 0 and (chunk := stream.read(min(remaining, _CHUNK))):
                digest.update(chunk)
                remaining -= len(chunk)
            checksum = stream.read()
        # All zeros: written with index.skipHash.
        if checksum not in (digest.digest(), bytes(len(checksum))) or self._end < _HEADER.size:
            raise ValueError("its checksum is wrong")
        return checksum

    def _header(self) -> tuple[int, int]:
        signature, version, count = _HEADER.unpack(os.pread(self._descriptor, _HEADER.size, 0))
        if signature != b"DIRC":
            raise ValueError("it does not begin as an index does")
        if version not in _VERSIONS:
            raise PermanentError(
                f"the Git index has version {version}, which is not known",
                hint="upgrade archon, or write version 4: `git update-index --index-version 4`",
            )
        return version, count

    def _extensions(self) -> Iterator[Extension]:
        """Raises PermanentError for one that Git requires readers to know, and that is not known."""
        with self._open() as stream:
            for _ in self._rows(stream):
                pass
            offset = stream.tell()
        while offset < self._end:
            name, size = struct.unpack(">4sL", os.pread(self._descriptor, 8, offset))
            extension = Extension(name, offset + 8, size)
            offset = extension.offset + size
            if offset > self._end:
                raise ValueError(f"the extension {name!r} is cut off")
            if not b"A" <= name[:1] <= b"Z" and name not in _REQUIRED_KNOWN:
                shown = display(name.decode("latin-1"))
                raise PermanentError(
                    f"the Git index needs its extension {shown}, which is not known",
                    hint="upgrade archon",
                )
            yield extension

    def _rows(self, stream: BinaryIO) -> Iterator[tuple[bytes, tuple[Any, ...], int]]:
        """Each entry's name, fixed fields and extended flags."""
        stream.seek(_HEADER.size)
        fixed, compressed = self._fixed, self.version == 4
        name = b""
        for _ in range(self.count):
            fields = fixed.unpack(stream.read(fixed.size))
            flags, size, extended = fields[-1], fixed.size, 0
            if flags & FLAG_EXTENDED:
                if self.version < 3:
                    raise ValueError("an entry has flags that its version does not have")
                (extended,) = struct.unpack(">H", stream.read(2))
                size += 2
            name = _compressed_name(stream, name) if compressed else _padded_name(stream, flags, size)
            yield name, fields, extended
        if stream.tell() > self._end:
            raise ValueError("it ends within an entry")


def count_entries(path: Path) -> int:
    """How many entries the file at `path` says it has; 0 where there is none to read."""
    try:
        with path.open("rb") as stream:
            signature, _, count = _HEADER.unpack(stream.read(_HEADER.size))
    except (OSError, struct.error):
        return 0
    return count if signature == b"DIRC" else 0


@contextmanager
def corruption() -> Iterator[None]:
    """Raises PermanentError where what is read inside is malformed."""
    try:
        yield
    except (ValueError, struct.error) as error:
        raise PermanentError(
            f"the Git index is corrupt: {display(str(error))}",
            hint="`git status` shows whether Git can read it",
        ) from None


class _Positioned(io.RawIOBase):
    """A descriptor read from a position of this reader's own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset if whence == os.SEEK_SET else self._position + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = os.pread(self._descriptor, len(buffer), self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _padded_name(stream: BinaryIO, flags: int, size: int) -> bytes:
    """A name of versions 2 and 3: NULs fill the entry, of which `size` bytes are read, to 8 bytes."""
    length = flags & FLAG_NAMEMASK
    if length == FLAG_NAMEMASK:  # it is so long or longer, and ends at the first NUL
        name = _until_nul(stream)
        stream.read(7 - (size + len(name)) % 8)
        return name
    name = stream.read(length)
    if len(name) < length:
        raise ValueError("it ends within a path")
    stream.read(8 - (size + length) % 8)
    return name


def _compressed_name(stream: BinaryIO, previous: bytes) -> bytes:
    """A name of version 4: how much of the previous one to drop, and what follows."""
    removed = _offset_varint(stream)
    if removed > len(previous):
        raise ValueError("a path shares more than its predecessor has")
    return previous[: len(previous) - removed] + _until_nul(stream)


def _offset_varint(stream: BinaryIO) -> int:
    """Git's varint.c: big-endian, and every continued byte adds one."""
    (byte,) = stream.read(1)
    value = byte & 0x7F
    while byte & 0x80:
        (byte,) = stream.read(1)
        value = ((value + 1) << 7) | (byte & 0x7F)
    return value


def _until_nul(stream: BinaryIO) -> bytes:
    name = bytearray()
    while (byte := stream.read(1)) != b"\0":
        if not byte:
            raise ValueError("it ends within a path")
        name += byte
    return bytes(name)
