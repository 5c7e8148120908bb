"""Indexes a pack that a stranger sent: every object is inflated and hashed once, within bounds of memory."""

from __future__ import annotations

import mmap
import struct
import traceback
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from dulwich.errors import ApplyDeltaError, ChecksumMismatch
from dulwich.object_format import ObjectFormat
from dulwich.pack import (
    OFS_DELTA,
    REF_DELTA,
    DeltaCycle,
    UnpackedObject,
    UnresolvedDeltas,
    apply_delta,
    read_pack_header_at,
    unpack_object_at,
)

from core.errors import ContentTooLarge
from core.git.errors import CorruptPack

COMMIT, TREE, BLOB = 1, 2, 3
HEADER_BYTES: Final = 12
# Pages of a mapped file that were read stay in our resident set; they are given back this often, in bytes.
RELEASE_BYTES: Final = 8 << 20
# Bases held at once while deltas are resolved. Git's own packs stay far below; a bomb does not.
PENDING_BYTES: Final = 256 << 20
_CHECK_OBJECTS: Final = 256
_LARGE_STEP: Final = 1 << 20
_TYPE_NAMES: Final = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", 4: b"tag"}
_BROKEN: Final = (
    ValueError,
    LookupError,
    AssertionError,
    TypeError,
    struct.error,
    zlib.error,
    ApplyDeltaError,
    ChecksumMismatch,
    UnresolvedDeltas,
    DeltaCycle,
)


Outside = Callable[[bytes], tuple[int, bytes]]


def nothing_outside(oid: bytes) -> tuple[int, bytes]:
    """For packs that must be whole."""
    raise KeyError(oid)


class IndexEntry(NamedTuple):
    """An object of a pack: binary id, offset, CRC of its packed bytes."""

    oid: bytes
    offset: int
    crc32: int | None


def object_id(object_format: ObjectFormat, kind: int, content: bytes) -> bytes:
    """The binary id that Git gives to an object."""
    return object_format.hash_object(b"%s %d\0" % (_TYPE_NAMES[kind], len(content)) + content)


@contextmanager
def corruption(what: str) -> Iterator[None]:
    """Turn what reading damaged or hostile pack bytes raises into `CorruptPack`."""
    try:
        yield
    except _BROKEN as error:
        # Its frames hold slices of the mapped file, which could not be closed.
        traceback.clear_frames(error.__traceback__)
        raise CorruptPack(f"{what} is corrupt: {type(error).__name__}") from None


class PackScanner:
    """Scans a mapped pack; `check` is called now and then.

    `limit` is the largest object held in memory, in bytes: one that is larger is hashed in parts, and
    refused only as a delta or the base of one. `outside` gives the bases that a thin pack leaves out,
    and raises KeyError for others; those used are in `borrowed` after `scan`.
    """

    def __init__(
        self,
        contents: mmap.mmap,
        object_format: ObjectFormat,
        limit: int,
        check: Callable[[], None],
        outside: Outside = nothing_outside,
    ) -> None:
        self.has_blobs = False
        self.borrowed: list[bytes] = []
        self._outside = outside
        self._contents = contents
        self._format = object_format
        self._limit = limit
        self._check = check
        self._entries: list[IndexEntry] = []
        self._kinds: dict[int, int] = {}
        self._crcs: dict[int, int | None] = {}
        self._children: dict[int, list[int]] = defaultdict(list)
        self._children_by_id: dict[bytes, list[int]] = defaultdict(list)
        self._unreleased = 0

    def scan(self) -> list[IndexEntry]:
        """Every object, sorted by id. Raises `CorruptPack`, `ContentTooLarge` for a delta over the limit."""
        with corruption("a pack"):
            self._read_all()
            self._resolve_all()
            self._borrow_all()
            if self._children or self._children_by_id:
                raise CorruptPack("a pack has deltas against objects that nobody has")
        self._entries.sort()
        return self._entries

    def _read_all(self) -> None:
        _, count = read_pack_header_at(self._contents)
        offset = HEADER_BYTES
        end = len(self._contents) - self._format.oid_length
        for number in range(count):
            if offset >= end:
                raise CorruptPack("a pack ends before its last object")
            if number % _CHECK_OBJECTS == 0:
                self._check()
            kind, size = declared(self._contents, offset)
            if kind in _TYPE_NAMES and size > self._limit:
                offset = self._read_large(offset, kind, size)
                continue
            unpacked, following = self._unpack(offset)
            if unpacked.pack_type_num == OFS_DELTA and isinstance(unpacked.delta_base, int):
                self._children[offset - unpacked.delta_base].append(offset)
                self._crcs[offset] = unpacked.crc32
            elif unpacked.pack_type_num == REF_DELTA and isinstance(unpacked.delta_base, bytes):
                self._children_by_id[unpacked.delta_base].append(offset)
                self._crcs[offset] = unpacked.crc32
            else:
                self._add(offset, unpacked.pack_type_num, b"".join(unpacked.decomp_chunks), unpacked.crc32)
            offset = following
        if offset != end:
            raise CorruptPack("a pack has bytes after its last object")

    def _read_large(self, offset: int, kind: int, size: int) -> int:
        """Hash an object over the limit without holding it; it can be kept, not read. Where it ends."""
        digest = self._format.new_hash()
        digest.update(b"%s %d\0" % (_TYPE_NAMES[kind], size))
        inflater = zlib.decompressobj()
        position = _header_end(self._contents, offset)
        left = size
        while not inflater.eof:
            part = self._contents[position : position + _LARGE_STEP]
            if not part:
                raise CorruptPack("a pack ends within an object")
            position += len(part)
            while part and not inflater.eof:
                inflated = inflater.decompress(part, _LARGE_STEP)
                left -= len(inflated)
                if left < 0:
                    raise CorruptPack("an object is longer than its header says")
                digest.update(inflated)
                part = inflater.unconsumed_tail
            self._check()
            self._contents.madvise(mmap.MADV_DONTNEED)
        if left:
            raise CorruptPack("an object is shorter than its header says")
        position -= len(inflater.unused_data)
        crc32 = 0
        for at in range(offset, position, _LARGE_STEP):
            crc32 = zlib.crc32(self._contents[at : min(at + _LARGE_STEP, position)], crc32)
        self._entries.append(IndexEntry(digest.digest(), offset, crc32))
        self._kinds[offset] = kind
        self.has_blobs = self.has_blobs or kind == BLOB
        return position

    def _resolve_all(self) -> None:
        for entry in list(self._entries):
            if children := self._take_children(entry):
                self._check_size(declared(self._contents, entry.offset)[1])
                unpacked, _ = self._unpack(entry.offset)
                self._resolve(self._kinds[entry.offset], b"".join(unpacked.decomp_chunks), children)
                self._check()

    def _borrow_all(self) -> None:
        for oid in sorted(self._children_by_id):
            try:
                kind, content = self._outside(oid)
            except KeyError:
                continue
            self.borrowed.append(oid)
            self._resolve(kind, content, self._children_by_id.pop(oid, []))

    def _resolve(self, kind: int, content: bytes, children: list[int]) -> None:
        """Resolve a tree of deltas depth first, holding the bases on the way down."""
        stack = [(content, children)]
        pending = len(content)
        while stack:
            base, waiting = stack[-1]
            if not waiting:
                stack.pop()
                pending -= len(base)
                continue
            offset = waiting.pop()
            unpacked, _ = self._unpack(offset)
            delta = b"".join(unpacked.decomp_chunks)
            self._check_size(_delta_target_size(delta))
            content = b"".join(apply_delta(base, delta))
            entry = self._add(offset, kind, content, self._crcs.pop(offset))
            if grandchildren := self._take_children(entry):
                stack.append((content, grandchildren))
                pending += len(content)
                if pending > PENDING_BYTES:
                    raise ContentTooLarge("a pack nests deltas of large objects too deeply")

    def _take_children(self, entry: IndexEntry) -> list[int]:
        return self._children.pop(entry.offset, []) + self._children_by_id.pop(entry.oid, [])

    def _add(self, offset: int, kind: int, content: bytes, crc32: int | None) -> IndexEntry:
        entry = IndexEntry(object_id(self._format, kind, content), offset, crc32)
        self._entries.append(entry)
        self._kinds[offset] = kind
        self.has_blobs = self.has_blobs or kind == BLOB
        return entry

    def _unpack(self, offset: int) -> tuple[UnpackedObject, int]:
        self._check_size(declared(self._contents, offset)[1])
        unpacked, end = unpack_object_at(self._contents, offset, self._format.hash_func, compute_crc32=True)
        self._unreleased += end - offset
        if self._unreleased > RELEASE_BYTES:
            self._contents.madvise(mmap.MADV_DONTNEED)
            self._unreleased = 0
        return unpacked, end

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise ContentTooLarge(
                f"an object of {size:,} bytes is over the limit of {self._limit:,}",
                hint="see git.max_file_bytes",
            )


def declared(contents: mmap.mmap | bytes, offset: int) -> tuple[int, int]:
    """Type number and inflated size in an object's header (gitformat-pack(5))."""
    byte = contents[offset]
    kind, size, shift = (byte >> 4) & 7, byte & 0x0F, 4
    while byte & 0x80:
        offset += 1
        byte = contents[offset]
        size |= (byte & 0x7F) << shift
        shift += 7
    return kind, size


def _header_end(contents: mmap.mmap, offset: int) -> int:
    while contents[offset] & 0x80:
        offset += 1
    return offset + 1


def _delta_target_size(delta: bytes) -> int:
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
