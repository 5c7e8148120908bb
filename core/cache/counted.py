"""Counting what a cache does, kept apart from doing it."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from core.cache.base import Checkup, Listed, Order, Tell, quiet
from core.cache.counters import CacheStats, Counters
from core.cache.disk import Cached, DiskCache, Miss, Writer
from core.cache.index import NoRoom
from core.errors import ArchonError

logger = logging.getLogger(__name__)


class CountedCache:
    """A `DiskCache` that counts. `trouble` says why it does not keep contents at present, else None."""

    def __init__(self, cache: DiskCache) -> None:
        self._cache = cache
        self._making = threading.Lock()
        self._counters = Counters()
        self.trouble: str | None = None

    def open(self, *, scan: bool = True) -> None:
        """See `DiskCache.open`."""
        self._add("evictions", self._cache.open(scan=scan))

    def close(self) -> None:
        """Write the counters down and close. Idempotent."""
        with suppress(ArchonError):
            self._counters.flush(self._cache.index)
        self._cache.close()

    def get(self, key: str, *, hold: int, head: int) -> Cached | Miss:
        """See `DiskCache.get`."""
        self._make_again()
        found = self._cache.get(key, hold=hold, head=head)
        if isinstance(found, Miss):
            self._add(f"miss:{found}")
            self._add("corruptions", found is Miss.CORRUPT)
        else:
            self._add("hits")
            self._add("hit_bytes", found.entry.size if found.entry else len(found.content))
        return found

    def reserve(self, key: str, size: int) -> Writer:
        """See `DiskCache.reserve`."""
        self._make_again()
        writer = self._cache.reserve(key, size)
        self._add("evictions", writer.evicted)
        return writer

    def stored(self, size: int) -> None:
        """A writer of `size` bytes committed."""
        self.trouble = None
        self._add("stored_bytes", size)

    def refused(self, error: NoRoom) -> None:
        """A content was served without being kept; a disk or index at fault is `trouble`."""
        self._add(f"uncached:{error.cause}")
        if error.cause not in {"too_large", "in_use"}:
            self.trouble = str(error)

    def entries(self, limit: int, order: Order = "size") -> list[Listed]:
        """See `Cache.entries`."""
        index = self._cache.index
        return index.largest(limit) if order == "size" else index.oldest(limit)

    def clear(self) -> tuple[int, int]:
        """See `DiskCache.clear`."""
        return self._cache.clear()

    def verify(self, tell: Tell = quiet) -> Checkup:
        """See `DiskCache.verify`."""
        found = self._cache.verify(tell)
        self._add("corruptions", found.corrupt)
        return found

    def stats(self) -> CacheStats:
        """The figures now."""
        return self._counters.stats(str(self._cache.directory), self._cache.index)

    def _make_again(self) -> None:
        """A directory that was removed while the agent runs is used again at once."""
        if not self._cache.is_gone:
            return
        with self._making:
            if self._cache.is_gone:
                logger.warning("the cache directory %s was removed: it is made again", self._cache.directory)
                try:
                    self._cache.make_again()
                    self.trouble = None
                except ArchonError as error:
                    self.trouble = str(error)

    def _add(self, name: str, count: int = 1) -> None:
        self._counters.add(self._cache.index, name, count)
