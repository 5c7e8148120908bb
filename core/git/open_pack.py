"""A visible pack, mapped: its objects by id, with a small cache of delta bases."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

from dulwich.lru_cache import LRUSizeCache
from dulwich.object_format import ObjectFormat
from dulwich.objects import RawObjectID
from dulwich.pack import apply_delta, load_pack_index

from core.errors import ContentTooLarge
from core.git.errors import CorruptPack
from core.git.pack_object import delta_target_size, header_at, inflate

DELTA_CACHE_BYTES: Final = 4 << 20


class OpenPack:
    """Not safe for threads. `limit` is the largest object read, in bytes.

    What reads raise for damaged bytes is for `core.git.pack_index.corruption` to explain.
    """

    def __init__(self, path: Path, object_format: ObjectFormat, limit: int) -> None:
        """Raises FileNotFoundError where the pack has gone."""
        self.index = load_pack_index(str(path.with_suffix(".idx")), object_format)
        self._id_length = object_format.oid_length
        self._limit = limit
        self._bases: LRUSizeCache[int, tuple[int, bytes]] = LRUSizeCache(
            DELTA_CACHE_BYTES, compute_size=lambda item: len(item[1])
        )
        try:
            with open(path, "rb") as file:
                self._contents = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except BaseException:
            self.index.close()
            raise

    def __len__(self) -> int:
        return len(self.index)

    def offset(self, oid: bytes) -> int | None:
        """Where an object is; None if it is not here."""
        try:
            return self.index.object_offset(RawObjectID(oid))
        except KeyError:
            return None

    def read(self, offset: int) -> tuple[int, bytes]:
        """Type number and content of the object at `offset`. Raises `ContentTooLarge` over the limit."""
        chain: list[tuple[int, bytes]] = []
        seen: set[int] = set()
        while (known := self._bases.get(offset)) is None:
            head = header_at(self._contents, offset, self._id_length)
            self._check_size(head.size)
            content, _ = inflate(self._contents, head.start, head.size)
            if head.base is None:
                known = head.kind, content
                break
            chain.append((offset, content))
            seen.add(offset)
            offset = (
                head.base if isinstance(head.base, int) else self.index.object_offset(RawObjectID(head.base))
            )
            if offset in seen:
                raise CorruptPack("deltas go round in a circle")
        kind, content = known
        for at, delta in reversed(chain):
            self._bases[offset] = kind, content
            self._check_size(delta_target_size(delta))
            offset, content = at, b"".join(apply_delta(content, delta))
        return kind, content

    def release(self) -> None:
        """Give the pages that were read back to the system."""
        self._contents.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        self._contents.close()
        self.index.close()

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise ContentTooLarge(
                f"a file of {size:,} bytes is over the limit of {self._limit:,}",
                hint="see git.max_file_bytes",
            )
