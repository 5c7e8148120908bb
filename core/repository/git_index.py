"""Git's index, streamed: its entries in order, never all of them in memory.

Format: https://git-scm.com/docs/index-format
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dulwich.index import (
    FLAG_EXTENDED,
    FLAG_NAMEMASK,
    FLAG_STAGEMASK,
    SerializedIndexEntry,
    UnsupportedIndexFormat,
    read_index,
    read_index_header,
)
from dulwich.object_format import ObjectFormat
from dulwich.objects import RawObjectID, sha_to_hex

from core.errors import PermanentError
from core.safety.display import display

_CHUNK = 1 << 16
_REBUILD = "`rm` the index and `git reset` rebuild it from HEAD"


def open_index(path: Path, object_format: ObjectFormat) -> BinaryIO | None:
    """The verified index file at its start, None if there is none; the caller closes it.

    Raises PermanentError if its checksum is wrong, or if it is split and so lists only a part.
    """
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PermanentError(f"cannot read the Git index: {error.strerror}") from None
    try:
        _verify_checksum(stream, object_format)
        if any(path.parent.glob("sharedindex.*")) and _is_split(stream, object_format):
            raise PermanentError(
                "the repository uses a split index, which is not supported",
                hint="join it with `git update-index --no-split-index`",
            )
        stream.seek(0)
    except BaseException:
        stream.close()
        raise
    return stream


def count_entries(path: Path) -> int:
    """How many entries the index at `path` says it has; 0 where there is none to read."""
    try:
        with path.open("rb") as stream:
            return int(read_index_header(stream)[1])
    except (OSError, AssertionError, ValueError, struct.error, UnsupportedIndexFormat):
        return 0


def read_entries(stream: BinaryIO, object_format: ObjectFormat) -> Iterator[SerializedIndexEntry]:
    """The entries of an index in path order; conflicted paths appear once per stage.

    Raises PermanentError if the index is malformed or its entries are out of order.
    """
    previous = (b"", -1)
    try:
        for entry in _parse(stream, object_format):
            position = (entry.name, entry.flags & FLAG_STAGEMASK)
            if position <= previous:
                raise ValueError(f"{entry.name!r} is out of order")
            previous = position
            yield entry
    except (AssertionError, ValueError, struct.error, UnsupportedIndexFormat) as error:
        raise PermanentError(f"the Git index is corrupt: {display(str(error))}", hint=_REBUILD) from None


def _parse(stream: BinaryIO, object_format: ObjectFormat) -> Iterator[SerializedIndexEntry]:
    version = int.from_bytes(stream.read(8)[4:], "big")
    stream.seek(0)
    return (_read_version_4 if version == 4 else read_index)(stream, object_format)


def _read_version_4(stream: BinaryIO, object_format: ObjectFormat) -> Iterator[SerializedIndexEntry]:
    # dulwich 1.2 reads the prefix length as LEB128; Git's is big-endian with an offset (varint.c).
    _, count = read_index_header(stream)
    fixed = struct.Struct(f">10L{object_format.oid_length}sH")
    name = b""
    for _ in range(count):
        fields = fixed.unpack(stream.read(fixed.size))
        flags = fields[-1]
        extended = struct.unpack(">H", stream.read(2))[0] if flags & FLAG_EXTENDED else 0
        removed = _offset_varint(stream)
        if removed > len(name):
            raise ValueError("a path shares more than its predecessor has")
        name = name[: len(name) - removed] + _until_nul(stream)
        ctime, mtime, (dev, ino, mode, uid, gid, size) = fields[0:2], fields[2:4], fields[4:10]
        yield SerializedIndexEntry(
            name, ctime, mtime, dev, ino, mode, uid, gid, size,
            sha_to_hex(RawObjectID(fields[10])), flags & ~FLAG_NAMEMASK, extended,
        )  # fmt: skip


def _offset_varint(stream: BinaryIO) -> int:
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


def _verify_checksum(stream: BinaryIO, object_format: ObjectFormat) -> None:
    length = object_format.oid_length
    remaining = stream.seek(0, 2) - length
    stream.seek(0)
    digest = object_format.new_hash()
    while remaining > 0:
        chunk = stream.read(min(remaining, _CHUNK))
        if not chunk:
            break
        digest.update(chunk)
        remaining -= len(chunk)
    # All zeros: written with index.skipHash.
    if stream.read() not in (digest.digest(), bytes(length)):
        raise PermanentError("the Git index is corrupt: its checksum is wrong", hint=_REBUILD)


def _is_split(stream: BinaryIO, object_format: ObjectFormat) -> bool:
    """Whether the mandatory extension `link` follows the entries."""
    end = stream.seek(0, 2) - object_format.oid_length
    stream.seek(0)
    for _ in read_entries(stream, object_format):
        pass
    while stream.tell() + 8 <= end:
        signature, size = struct.unpack(">4sL", stream.read(8))
        if signature == b"link":
            return True
        stream.seek(size, 1)
    return False
