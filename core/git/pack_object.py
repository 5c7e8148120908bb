"""One object of a mapped pack, as it is stored there (gitformat-pack(5)); nothing is believed."""

from __future__ import annotations

import mmap
import zlib
from typing import Final, NamedTuple

from dulwich.pack import OFS_DELTA, REF_DELTA

from core.git.errors import CorruptPack

# The most that deflate adds to what does not compress, and then some: one part mostly is all.
_OVERHEAD: Final = 64


class Header(NamedTuple):
    """`size` is inflated, of the object or the delta it is stored as; its bytes begin at `start`.

    `base` is what a delta is against: an offset, or an id; None for a whole object.
    """

    kind: int
    size: int
    base: int | bytes | None
    start: int


def header_at(contents: mmap.mmap, offset: int, id_length: int) -> Header:
    """The header at `offset`. Raises IndexError past the end, `CorruptPack` for a senseless base."""
    position = offset
    byte = contents[position]
    kind, size, shift = (byte >> 4) & 7, byte & 0x0F, 4
    while byte & 0x80:
        position += 1
        byte = contents[position]
        size |= (byte & 0x7F) << shift
        shift += 7
    position += 1
    if kind == OFS_DELTA:
        byte = contents[position]
        distance = byte & 0x7F
        while byte & 0x80:
            position += 1
            byte = contents[position]
            distance = ((distance + 1) << 7) | (byte & 0x7F)
        if not 0 < distance < offset:
            raise CorruptPack("a delta's base lies outside its pack")
        return Header(kind, size, offset - distance, position + 1)
    if kind == REF_DELTA:
        return Header(kind, size, contents[position : position + id_length], position + id_length)
    return Header(kind, size, None, position)


def inflate(contents: mmap.mmap, start: int, size: int) -> tuple[bytes, int]:
    """The `size` bytes deflated at `start`, and where their stream ends. Raises `CorruptPack`, zlib.error."""
    inflater = zlib.decompressobj()
    parts: list[bytes] = []
    position, left, step = start, size, size + (size >> 8) + _OVERHEAD
    while not inflater.eof:
        deflated = contents[position : position + step]
        if not deflated:
            raise CorruptPack("a pack ends within an object")
        position += len(deflated)
        part = inflater.decompress(deflated, left + 1)
        left -= len(part)
        if left < 0:
            raise CorruptPack("an object is longer than its header says")
        parts.append(part)
    if left:
        raise CorruptPack("an object is shorter than its header says")
    return b"".join(parts), position - len(inflater.unused_data)


def delta_target_size(delta: bytes) -> int:
    """The size of what a delta makes: the second of its two leading numbers."""
    position = size = 0
    for _ in range(2):
        size = shift = 0
        while True:
            byte = delta[position]
            position += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
    return size
