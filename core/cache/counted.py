"""Counting what a cache does, kept apart from doing it."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from core.cache.disk import Cached, Checkup, DiskCache, Miss, Writer
from core.cache.index import NoRoom
from core.errors import ArchonError

_PENDING = 256


@dataclass(frozen=True, slots=True)
class CacheStats:
    """A cache's figures; counters are lifetime, of every process that used the directory.

    `misses` and `uncached` are by cause; `uncached` counts contents that were served without being kept.
    `corruptions` are entries that differed from their checksum, at a lookup or a `verify`.
    """

    directory: str
    max_bytes: int
    entries: int
    bytes: int
    reserved_bytes: int
    hits: int
    misses: dict[str, int]
    uncached: dict[str, int]
    evictions: int
    corruptions: int
    hit_bytes: int
    stored_bytes: int

    @property
    def hit_rate(self) -> float | None:
        """Hits per lookup, 0 to 1; None before the first lookup."""
        lookups = self.hits + sum(self.misses.values())
        return self.hits / lookups if lookups else None

    def to_json(self) -> dict[str, Any]:
        """The published shape of `cache stats --json`."""
        return {
            "directory": self.directory,
            "max_bytes": self.max_bytes,
            "entries": self.entries,
            "bytes": self.bytes,
            "reserved_bytes": self.reserved_bytes,
            "hits": self.hits,
            "misses": self.misses,
            "hit_rate": self.hit_rate,
            "uncached": self.uncached,
            "evictions": self.evictions,
            "corruptions": self.corruptions,
            "hit_bytes": self.hit_bytes,
            "stored_bytes": self.stored_bytes,
        }


class CountedCache:
    """A `DiskCache` that counts. `trouble` says why it does not keep contents at present, else None."""

    def __init__(self, cache: DiskCache) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._pending: Counter[str] = Counter()
        self.trouble: str | None = None

    def open(self, *, scan: bool = True) -> None:
        """See `DiskCache.open`."""
        self._add("evictions", self._cache.open(scan=scan))

    def close(self) -> None:
        """Write the counters down and close. Idempotent."""
        with suppress(ArchonError):
            self._flush()
        self._cache.close()

    def get(self, key: str, *, hold: int, head: int) -> Cached | Miss:
        """See `DiskCache.get`."""
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

    def clear(self) -> tuple[int, int]:
        """See `DiskCache.clear`."""
        return self._cache.clear()

    def verify(self) -> Checkup:
        """See `DiskCache.verify`."""
        found = self._cache.verify()
        self._add("corruptions", found.corrupt)
        return found

    def stats(self) -> CacheStats:
        """The figures now."""
        self._flush()
        usage = self._cache.usage()
        counters = self._cache.index.counters()
        return CacheStats(
            directory=str(self._cache.directory),
            max_bytes=self._cache.max_bytes,
            entries=usage.entries,
            bytes=usage.entry_bytes,
            reserved_bytes=usage.reserved_bytes,
            hits=counters.get("hits", 0),
            misses=_by_cause(counters, "miss:"),
            uncached=_by_cause(counters, "uncached:"),
            evictions=counters.get("evictions", 0),
            corruptions=counters.get("corruptions", 0),
            hit_bytes=counters.get("hit_bytes", 0),
            stored_bytes=counters.get("stored_bytes", 0),
        )

    def _add(self, name: str, count: int = 1) -> None:
        if not count:
            return
        with self._lock:
            self._pending[name] += count
            self._pending["events"] += 1
            due = self._pending["events"] >= _PENDING
        if due:
            with suppress(ArchonError):
                self._flush()

    def _flush(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, Counter()
        pending.pop("events", None)
        if pending:
            self._cache.index.count(pending)


def _by_cause(counters: dict[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in counters.items() if name.startswith(prefix)}
