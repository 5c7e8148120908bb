"""The objects of one repository in pack files: verified when they arrive, and again when they are read."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dulwich.object_format import ObjectFormat
from dulwich.objects import ObjectID, RawObjectID
from dulwich.pack import write_pack_index

from core.git.errors import CorruptPack
from core.git.incoming import INCOMING, Incoming, disk_refusals, in_use, scan_file
from core.git.open_pack import OpenPack
from core.git.pack_index import COMMIT, HEADER_BYTES, IndexEntry, corruption, object_id
from core.safety.private import make_private

# Pages of mapped packs that were read are given back this often, in bytes.
RELEASE_BYTES: Final = 4 << 20
# A lookup asks every pack: 500 of them made it 20 times slower.
MANY_PACKS: Final = 8
SMALL_PACK_BYTES: Final = 32 << 20
_COPY_BYTES: Final = 1 << 20


class PackStore:
    """Packs in `directory`, read by many threads and processes; a pack is visible only when whole.

    Object ids are hex. `limit` is the largest object taken, in bytes.
    """

    def __init__(self, directory: Path, object_format: ObjectFormat, limit: int) -> None:
        self.directory = directory
        self.object_format = object_format
        self.limit = limit
        self.corruptions = 0
        self._lock = threading.RLock()
        self._packs: dict[str, OpenPack] = {}
        self._unreleased = 0
        make_private(directory)

    def missing(self, oids: Iterable[str]) -> list[str]:
        """Those of `oids` that are not here, in order."""
        with self._lock:
            absent = [oid for oid in oids if self._place(_raw(oid)) is None]
            if absent and self._rescan():
                absent = [oid for oid in absent if self._place(_raw(oid)) is None]
            return absent

    def read(self, oid: str) -> tuple[int, bytes]:
        """An object's type number and content, which has the id asked for.

        Raises KeyError if it is not here, `ContentTooLarge` over the limit, `CorruptPack` if its pack is
        damaged; that pack is gone then.
        """
        name = _raw(oid)
        with self._lock:
            place = self._place(name)
            if place is None and self._rescan():
                place = self._place(name)
            if place is None:
                raise KeyError(oid)
            return self._read(*place, name)

    def commits_starting(self, prefix: str) -> list[str]:
        """The commits here whose ids begin with `prefix`, in hex; at most a few are looked at."""
        found: set[str] = set()
        with self._lock:
            self._rescan()
            whole = bytes.fromhex(prefix[: len(prefix) // 2 * 2])
            for pack in self._packs.values():
                found |= {oid.hex() for oid in pack.index.iter_prefix(whole) if oid.hex().startswith(prefix)}
        return sorted(oid for oid in found if self.read(oid)[0] == COMMIT)

    def get_raw(self, name: ObjectID) -> tuple[int, bytes]:
        """`read` under the name that dulwich's stores give it."""
        return self.read(name.decode())

    def receive(self) -> Incoming:
        """A place for a pack that arrives."""
        return Incoming(self.directory, self.object_format)

    def publish(self, incoming: Incoming, check: Callable[[], None]) -> bool:
        """Verify a received pack and make it visible, completed if it is thin. True if it holds any blob.

        `check` is called now and then, and may raise. Raises `CorruptPack` for a pack that is not whole or
        not sound, `ContentTooLarge` for an object over the limit.
        """
        scanned = incoming.scan(self.limit, check, lambda oid: self.read(oid.hex()))
        with disk_refusals(), self.writing():
            self._publish(incoming, scanned.entries)
        return scanned.has_blobs

    def consolidable(self) -> int:
        """Bytes of the small packs, if there are so many that joining them pays, else 0."""
        with self._lock:
            if len(self._packs) < MANY_PACKS:
                return 0
            sizes = [size for name in self._packs if (size := self._size(name)) < SMALL_PACK_BYTES]
        return sum(sizes) if len(sizes) >= MANY_PACKS else 0

    def consolidate(self) -> int:
        """Join the small packs into one where there are many; returns how many were joined.

        Bodies are set one after another, so an object's distance to its delta base stays as it is.
        """
        with disk_refusals(), self.writing(), self._lock:
            self._rescan()
            small = {name: pack for name, pack in self._packs.items() if self._size(name) < SMALL_PACK_BYTES}
            if len(small) < MANY_PACKS:
                return 0
            with self.receive() as joined:
                self._publish(joined, self._join(small, joined))
                for name in small.keys() - {joined.name}:
                    self._drop(name)
            return len(small)

    def verify(self) -> list[str]:
        """Check every byte; damaged packs are dropped, and named in the answer."""
        with self._lock:
            self._rescan()
            packs = dict(self._packs)
        damaged = []
        for name, pack in packs.items():
            try:
                entries = scan_file(self.directory / f"{name}.pack", self.object_format, self.limit)
                with corruption("the index of a cached pack"):
                    pack.index.check()
                    sound = entries == list(pack.index.iterentries())
            except CorruptPack:
                sound = False
            except FileNotFoundError:
                continue
            if not sound:
                damaged.append(name)
                with self._lock:
                    self._discard(name)
        return damaged

    def sweep(self) -> int:
        """Remove what killed processes left behind; returns how many files that were."""
        removed = 0
        with self.writing():
            names = {path.name for path in self.directory.iterdir()}
            for name in names:
                path = self.directory / name
                partner = path.with_suffix({".idx": ".pack", ".pack": ".idx"}.get(path.suffix, "")).name
                halved = name.startswith("pack-") and partner not in names
                if halved or (name.startswith(INCOMING) and not in_use(path)):
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The right to add and remove visible packs, among all processes."""
        with open(self.directory / "lock", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def close(self) -> None:
        """Unmap everything. Idempotent."""
        with self._lock:
            for name in list(self._packs):
                self._forget(name)

    def _publish(self, incoming: Incoming, entries: Sequence[IndexEntry]) -> None:
        """Rename a complete pack into sight, its index last; the caller holds `writing`."""
        index = incoming.path.with_suffix(".idx")
        try:
            with open(index, "wb") as file:
                write_pack_index(file, entries, incoming.checksum)
            with self._lock:
                incoming.path.rename(self.directory / f"{incoming.name}.pack")
                index.rename(self.directory / f"{incoming.name}.idx")
                self._rescan()
        finally:
            index.unlink(missing_ok=True)

    def _join(self, packs: dict[str, OpenPack], joined: Incoming) -> list[IndexEntry]:
        count = sum(map(len, packs.values()))
        joined.write(b"PACK" + (2).to_bytes(4, "big") + count.to_bytes(4, "big"))
        entries: list[IndexEntry] = []
        for name, pack in packs.items():
            shift = joined.size - HEADER_BYTES
            entries += [IndexEntry(oid, offset + shift, crc) for oid, offset, crc in pack.index.iterentries()]
            with open(self.directory / f"{name}.pack", "rb") as file:
                left = self._size(name) - HEADER_BYTES - self.object_format.oid_length
                file.seek(HEADER_BYTES)
                while left > 0 and (part := file.read(min(left, _COPY_BYTES))):
                    joined.write(part)
                    left -= len(part)
        joined.seal()
        return sorted(entries)

    def _place(self, oid: RawObjectID) -> tuple[str, int] | None:
        """The pack that has an object, and where."""
        for name, pack in self._packs.items():
            if (offset := pack.offset(oid)) is not None:
                return name, offset
        return None

    def _read(self, holder: str, offset: int, oid: RawObjectID) -> tuple[int, bytes]:
        try:
            with corruption("a cached pack"):
                kind, content = self._packs[holder].read(offset)
                if object_id(self.object_format, kind, content) != oid:
                    raise CorruptPack("a cached object has the name of another")
        except CorruptPack:
            self._discard(holder)
            raise
        self._unreleased += len(content)
        if self._unreleased > RELEASE_BYTES:
            self._unreleased = 0
            for pack in self._packs.values():
                pack.release()
        return kind, content

    def _rescan(self) -> bool:
        """Take up packs that appeared, let go of those that vanished. True if any appeared."""
        seen = {entry.name for entry in os.scandir(self.directory) if entry.name.startswith("pack-")}
        whole = {name[:-5] for name in seen if name.endswith(".pack") and f"{name[:-5]}.idx" in seen}
        for name in self._packs.keys() - whole:
            self._forget(name)
        fresh = whole - self._packs.keys()
        for name in fresh:
            try:
                with suppress(FileNotFoundError), corruption("the index of a cached pack"):
                    self._packs[name] = OpenPack(
                        self.directory / f"{name}.pack", self.object_format, self.limit
                    )
            except CorruptPack:
                self._discard(name)
        return bool(fresh)

    def _size(self, name: str) -> int:
        try:
            return (self.directory / f"{name}.pack").stat().st_size
        except FileNotFoundError:  # another process joined it with others
            return SMALL_PACK_BYTES

    def _forget(self, name: str) -> None:
        if pack := self._packs.pop(name, None):
            pack.close()

    def _discard(self, name: str) -> None:
        self.corruptions += 1
        self._drop(name)

    def _drop(self, name: str) -> None:
        self._forget(name)
        for suffix in (".idx", ".pack"):
            (self.directory / f"{name}{suffix}").unlink(missing_ok=True)


def _raw(oid: str) -> RawObjectID:
    return RawObjectID(bytes.fromhex(oid))
