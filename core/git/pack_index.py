"""Indexes a pack that a stranger sent: every object is inflated and hashed once, within bounds of memory."""

from __future__ import annotations

import mmap
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable
from traceback import clear_frames
from types import TracebackType
from typing import Final, NamedTuple

from dulwich.errors import ApplyDeltaError, ChecksumMismatch
from dulwich.object_format import ObjectFormat
from dulwich.pack import apply_delta, read_pack_header_at

from core.errors import ContentTooLarge
from core.git.errors import CorruptPack
from core.git.pack_object import Header, delta_target_size, header_at, inflate

COMMIT, TREE, BLOB = 1, 2, 3
HEADER_BYTES: Final = 12
# Pages of a mapped file that were read stay in our resident set; they are given back this often, in bytes.
RELEASE_BYTES: Final = 1 << 20
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
    digest = object_format.new_hash()
    digest.update(b"%s %d\0" % (_TYPE_NAMES[kind], len(content)))
    digest.update(content)
    return digest.digest()


class corruption:  # noqa: N801 - used like a function
    """Turn what reading damaged or hostile pack bytes raises inside into `CorruptPack`."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """A class, because it goes around every read: a generator costs three times as much."""

    def __exit__(self, _: object, error: BaseException | None, traceback: TracebackType | None) -> None:
        if isinstance(error, _BROKEN):
            # Its frames hold slices of the mapped file, which could not be closed.
            clear_frames(traceback)
            raise CorruptPack(f"{self._what} is corrupt: {type(error).__name__}") from None


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
            head = header_at(self._contents, offset, self._format.oid_length)
            if head.base is None and head.kind not in _TYPE_NAMES:
                raise CorruptPack("a pack has an object of no known type")
            if head.base is None and head.size > self._limit:
                offset = self._read_large(offset, head)
                continue
            content, following = self._inflate(offset, head)
            crc32 = zlib.crc32(self._contents[offset:following])
            if head.base is None:
                self._add(offset, head.kind, content, crc32)
            else:
                self._crcs[offset] = crc32
                if isinstance(head.base, int):
                    self._children[head.base].append(offset)
                else:
                    self._children_by_id[head.base].append(offset)
            offset = following
        if offset != end:
            raise CorruptPack("a pack has bytes after its last object")

    def _read_large(self, offset: int, head: Header) -> int:
        """Hash an object over the limit without holding it; it can be kept, not read. Where it ends."""
        kind, size, _, position = head
        digest = self._format.new_hash()
        digest.update(b"%s %d\0" % (_TYPE_NAMES[kind], size))
        inflater = zlib.decompressobj()
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
                self._resolve(self._kinds[entry.offset], self._stored(entry.offset), children)
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
            delta = self._stored(offset)
            self._check_size(delta_target_size(delta))
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

    def _stored(self, offset: int) -> bytes:
        """An object's bytes, or those of the delta it is stored as."""
        return self._inflate(offset, header_at(self._contents, offset, self._format.oid_length))[0]

    def _inflate(self, offset: int, head: Header) -> tuple[bytes, int]:
        self._check_size(head.size)
        content, end = inflate(self._contents, head.start, head.size)
        self._unreleased += end - offset
        if self._unreleased > RELEASE_BYTES:
            self._contents.madvise(mmap.MADV_DONTNEED)
            self._unreleased = 0
        return content, end

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise ContentTooLarge(
                f"an object of {size:,} bytes is over the limit of {self._limit:,}",
                hint="see git.max_file_bytes",
            )
