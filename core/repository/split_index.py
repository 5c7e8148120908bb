"""Git's index as a whole: one file, or one with the changes to a shared file (`core.splitIndex`).

The extension `link` names the shared file, and has two bitmaps over its entries: which are deleted, and
which are replaced. The replacements are the first entries of the index, without names. Format:
https://git-scm.com/docs/index-format, "Split index"; bitmaps: EWAH of https://git-scm.com/docs/bitmap-format.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain, takewhile
from pathlib import Path

from dulwich.index import FLAG_STAGEMASK, SerializedIndexEntry
from dulwich.object_format import ObjectFormat

from core.errors import PermanentError
from core.repository.git_index import Extension, IndexFile, corruption, count_entries


class Index:
    """The entries of a repository's index; the caller closes it."""

    def __init__(self, path: Path, object_format: ObjectFormat) -> None:
        """Raises FileNotFoundError; PermanentError where a file is missing, corrupt or of a newer Git."""
        self._own = IndexFile(path, object_format)
        self._shared: IndexFile | None = None
        self._deleted: tuple[int, ...] = ()
        self._replaced: tuple[int, ...] = ()
        try:
            link = next((each for each in self._own.extensions if each.name == b"link"), None)
            if link:
                self._open_shared(path.parent, object_format, link)
        except BaseException:
            self._own.close()
            raise

    @property
    def written_ns(self) -> int:
        """When the older of its files was written."""
        return min(self._own.written_ns, self._shared.written_ns if self._shared else self._own.written_ns)

    @property
    def count(self) -> int:
        """How many entries there are."""
        if self._shared is None:
            return self._own.count
        return self._own.count - len(self._replaced) + self._shared.count - len(self._deleted)

    def entries(self) -> Iterator[SerializedIndexEntry]:
        """The entries in path order; conflicted paths appear once per stage.

        Raises PermanentError if an index is malformed or its entries are out of order.
        """
        with corruption():
            added = self._added()
            if self._shared is None:
                yield from added
                return
            previous = None
            for entry in heapq.merge(added, self._kept(self._shared), key=_position):
                if (position := _position(entry)) != previous:  # what is added wins
                    yield entry
                previous = position

    def close(self) -> None:
        """Idempotent."""
        for file in (self._own, self._shared):
            if file:
                file.close()

    def _open_shared(self, directory: Path, object_format: ObjectFormat, link: Extension) -> None:
        length = object_format.oid_length
        data = self._own.data(link)
        checksum = data[:length]
        if not any(checksum):
            return
        name = f"sharedindex.{checksum.hex()}"
        try:
            shared = IndexFile(directory / name, object_format)
        except FileNotFoundError:
            raise PermanentError(
                f"the Git index is split, and its part {name} is missing",
                hint="`git status` shows whether Git can read it",
            ) from None
        self._shared = shared
        try:
            with corruption():
                if shared.checksum != checksum:
                    raise ValueError(f"{name} is another one")
                if len(data) > length:
                    self._deleted, offset = _bitmap(data, length, shared.count)
                    self._replaced, _ = _bitmap(data, offset, shared.count)
        except BaseException:
            shared.close()
            raise

    def _added(self) -> Iterator[SerializedIndexEntry]:
        unnamed = 0
        for entry in self._own.entries():
            if entry.name:
                yield entry
            else:
                unnamed += 1
        if unnamed != len(self._replaced):
            raise ValueError(f"it has {unnamed:,} entries without a name, and {len(self._replaced):,} places")

    def _kept(self, shared: IndexFile) -> Iterator[SerializedIndexEntry]:
        """The shared entries that are not deleted, as they were replaced."""
        replacements = takewhile(lambda entry: not entry.name, self._own.entries())
        end = (shared.count,)
        deleted, replaced = chain(self._deleted, end), chain(self._replaced, end)
        next_deleted, next_replaced = next(deleted), next(replaced)
        for place, entry in enumerate(shared.entries()):
            kept = entry
            if place == next_replaced:
                next_replaced = next(replaced)
                if (replacement := next(replacements, None)) is None:
                    raise ValueError("a replacement is missing")
                kept = replace(replacement, name=entry.name)
            if place == next_deleted:
                next_deleted = next(deleted)
            else:
                yield kept


def open_index(path: Path, object_format: ObjectFormat) -> Index | None:
    """The index at `path`, None if there is none. Raises PermanentError as `Index`."""
    try:
        return Index(path, object_format)
    except FileNotFoundError:
        return None


def count_all_entries(path: Path, object_format: ObjectFormat) -> int:
    """How many entries the index at `path` has; 0 where there is none to read."""
    if not any(path.parent.glob("sharedindex.*")):
        return count_entries(path)
    try:
        index = open_index(path, object_format)
    except PermanentError:
        return 0
    if index is None:
        return 0
    with closing(index):
        return index.count


def _position(entry: SerializedIndexEntry) -> tuple[bytes, int]:
    return entry.name, entry.flags & FLAG_STAGEMASK


def _bitmap(data: bytes, offset: int, bits: int) -> tuple[tuple[int, ...], int]:
    """The set bits of the EWAH bitmap at `offset`, ascending, and where it ends.

    Raises ValueError, struct.error where it is malformed or sets more than the first `bits` bits.
    """
    _, count = struct.unpack_from(">LL", data, offset)
    words = struct.unpack_from(f">{count}Q", data, offset + 8)
    found: list[int] = []
    position = at = 0
    while at < count:
        marker = words[at]
        run, literals = 64 * ((marker >> 1) & 0xFFFFFFFF), marker >> 33
        if marker & 1:
            if position + run > bits:
                raise ValueError("a bitmap is longer than what it is about")
            found.extend(range(position, position + run))
        position += run
        for word in words[at + 1 : at + 1 + literals]:
            rest = word
            while rest:
                lowest = rest & -rest
                found.append(position + lowest.bit_length() - 1)
                rest ^= lowest
            position += 64
        at += 1 + literals
    if found and found[-1] >= bits:
        raise ValueError("a bitmap is longer than what it is about")
    return tuple(found), offset + 12 + 8 * count
