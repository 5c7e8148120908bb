"""Where a download lands: in memory and the cache, or straight on disk, verified while it arrives."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import threading
from pathlib import Path
from typing import IO, Final

from core.cache.counted import CountedCache
from core.cache.disk import Writer
from core.cache.index import NoRoom
from core.errors import BackendUnavailable, ChecksumMismatch, ContentTooLarge
from core.fetchers.base import HEAD_BYTES, HELD_LIMIT, Fetched, StoredFile

_BLOCK: Final = 1 << 20


class Landing:
    """Takes one content of exactly `size` bytes and the SHA-256 `key` (hex).

    Up to `HELD_LIMIT` it is held and, once proven, kept in the cache. A larger one streams into the
    cache's file, or, where the cache has no room, into a file of its own in `spill`.
    """

    def __init__(self, key: str, size: int, cache: CountedCache | None, spill: Path | None) -> None:
        self._key = key
        self._size = size
        self._cache = cache
        self._spill = spill
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._received = 0
        self._head = b""
        self._sink: Writer | _SpillFile | None = None
        # A cancelled caller leaves its thread at work: it must end before the sink is taken away.
        self._working = threading.Lock()
        self._ended = False

    async def write(self, block: bytes) -> None:
        """Raises `ContentTooLarge` beyond the expected size, `BackendUnavailable` where no disk takes it."""
        self._received += len(block)
        if self._received > self._size:
            raise ContentTooLarge(f"more than the expected {self._size:,} B arrived")
        self._pending.append(block)
        self._pending_bytes += len(block)
        if self._size > HELD_LIMIT and self._pending_bytes >= _BLOCK:
            await asyncio.to_thread(self._flush, self._taken())

    async def finish(self) -> Fetched:
        """Raises `ChecksumMismatch` unless exactly the expected bytes arrived."""
        return await asyncio.to_thread(
            self._hold if self._size <= HELD_LIMIT else self._settle, self._taken()
        )

    async def abandon(self) -> None:
        """Give back what an unfinished download took. Nothing after `finish`, idempotent."""
        if not self._ended:
            await asyncio.shield(asyncio.to_thread(self._abort))

    def _taken(self) -> bytes:
        block = b"".join(self._pending)
        self._pending, self._pending_bytes = [], 0
        return block

    def _abort(self) -> None:
        with self._working:
            self._ended = True
            sink, self._sink = self._sink, None
            if sink:
                sink.abort()

    def _hold(self, content: bytes) -> Fetched:
        self._ended = True
        if len(content) != self._size or hashlib.sha256(content).hexdigest() != self._key:
            raise ChecksumMismatch(f"{len(content):,} B arrived that are not the expected {self._size:,} B")
        if self._cache:
            try:
                writer = self._cache.reserve(self._key, self._size)
                try:
                    writer.write(content)
                    writer.commit()
                finally:
                    writer.abort()
                self._cache.stored(self._size)
            except NoRoom as refused:
                self._cache.refused(refused)
        return Fetched(content, checksum=f"sha256:{self._key}")

    def _settle(self, block: bytes) -> Fetched:
        self._flush(block)
        with self._working:
            self._ended = True
            sink, self._sink = self._sink, None
            if sink is None:
                raise BackendUnavailable("the download was abandoned")
            checksum = f"sha256:{self._key}"
            try:
                whole = (
                    sink.finish(checksum) if isinstance(sink, _SpillFile) else self._commit(sink, checksum)
                )
            finally:
                sink.abort()
        return Fetched(self._head, whole=whole, checksum=checksum)

    def _commit(self, writer: Writer, checksum: str) -> StoredFile:
        try:
            entry = writer.commit()
        except NoRoom as refused:
            if self._cache:
                self._cache.refused(refused)
            raise BackendUnavailable(str(refused), hint="see cache.dir and its free space") from None
        if self._cache:
            self._cache.stored(self._size)
        return StoredFile(entry.path, entry.size, checksum, entry)

    def _flush(self, block: bytes) -> None:
        with self._working:
            if self._ended:
                return
            if len(self._head) < HEAD_BYTES:
                self._head += block[: HEAD_BYTES - len(self._head)]
            if self._sink is None:
                self._sink = self._open()
            try:
                self._sink.write(block)
            except NoRoom as refused:
                if self._cache:
                    self._cache.refused(refused)
                raise BackendUnavailable(str(refused), hint="see cache.dir and its free space") from None

    def _open(self) -> Writer | _SpillFile:
        if self._cache:
            try:
                return self._cache.reserve(self._key, self._size)
            except NoRoom as refused:
                self._cache.refused(refused)
        return _SpillFile(self._key, self._size, self._spill)


class _SpillFile:
    """A file outside the cache, gone when whoever uses it is."""

    def __init__(self, key: str, size: int, directory: Path | None) -> None:
        self._key = key
        self._size = size
        self._digest = hashlib.sha256()
        self._written = 0
        try:
            self._file: IO[bytes] | None = tempfile.NamedTemporaryFile(prefix="archon-", dir=directory)  # noqa: SIM115 - lives on
        except OSError as error:
            raise _no_disk(error) from None

    def write(self, block: bytes) -> None:
        assert self._file  # noqa: S101 - nobody writes after the end
        try:
            self._file.write(block)
        except OSError as error:
            raise _no_disk(error) from None
        self._digest.update(block)
        self._written += len(block)

    def finish(self, checksum: str) -> StoredFile:
        assert self._file  # noqa: S101
        if self._written != self._size or self._digest.hexdigest() != self._key:
            raise ChecksumMismatch(f"{self._written:,} B arrived that are not the expected {self._size:,} B")
        try:
            self._file.flush()
        except OSError as error:
            raise _no_disk(error) from None
        file, self._file = self._file, None
        return StoredFile(Path(file.name), self._size, checksum, file)

    def abort(self) -> None:
        file, self._file = self._file, None
        if file:
            file.close()


def _no_disk(error: OSError) -> BackendUnavailable:
    return BackendUnavailable(
        f"no disk takes a large content: {error.strerror}", hint="see cache.dir and its free space"
    )
