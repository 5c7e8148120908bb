"""A cache's figures: counters that are written down in batches, and the published statistics."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from core.cache.index import CacheIndex
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


class Counters:
    """Counters kept in memory and added to an index's now and then. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: Counter[str] = Counter()
        self._events = 0

    def add(self, index: CacheIndex, name: str, count: int = 1) -> None:
        """Add to a counter; an index that cannot be written is asked again later."""
        if not count:
            return
        with self._lock:
            self._pending[name] += count
            self._events += 1
            due = self._events >= _PENDING
        if due:
            with suppress(ArchonError):
                self.flush(index)

    def flush(self, index: CacheIndex) -> None:
        """Write down what is pending. Raises what the index raises."""
        with self._lock:
            pending, self._pending = self._pending, Counter()
            self._events = 0
        if not pending:
            return
        try:
            index.count(pending)
        except BaseException:
            with self._lock:
                self._pending.update(pending)
            raise

    def stats(self, directory: str, index: CacheIndex) -> CacheStats:
        """The figures now."""
        self.flush(index)
        usage = index.usage()
        counters = index.counters()
        return CacheStats(
            directory=directory,
            max_bytes=index.max_bytes,
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


def _by_cause(counters: dict[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in counters.items() if name.startswith(prefix)}
