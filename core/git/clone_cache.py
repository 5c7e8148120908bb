"""The clone cache: one bare object store per repository and credential scope, LRU within a cap of bytes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from dulwich.object_format import get_object_format

from core.cache.base import Checkup, Listed, Order, Tell, quiet
from core.cache.counters import CacheStats, Counters
from core.cache.index import CacheIndex, NoRoom, open_index
from core.errors import ArchonError, BackendUnavailable
from core.git.clone_shelf import COMMITS, PACKS, CloneShelf
from core.git.commit_list import CommitLists
from core.git.errors import CloneTooLarge
from core.git.incoming import disk_refusals
from core.git.packs import PackStore
from core.safety.git_url import GitUrl
from core.safety.private import write_private

FIRST_STEP: Final = 1 << 20
LARGEST_STEP: Final = 64 << 20
# Each open store holds descriptors and mappings of its packs.
OPEN_STORES: Final = 8
ABOUT: Final = "about.json"
_HINT: Final = "see git.clone_cache_max_size_gb"

logger = logging.getLogger(__name__)


class Growth:
    """Room in the cache for what one fetch brings; it counts from the moment it is reserved."""

    def __init__(self, cache: CloneCache, key: str, name: str) -> None:
        self._cache = cache
        self._key = key
        self._name = name
        self._used = 0
        self._reserved = 0
        self._tokens: list[str] = []

    def grow(self, size: int) -> None:
        """Make room for `size` more bytes. Raises `CloneTooLarge` or `BackendUnavailable`."""
        self._used += size
        if self._used <= self._reserved:
            return
        room = self._cache.max_bytes - self._reserved
        if self._used - self._reserved > room:
            raise CloneTooLarge(
                f"it takes more than the whole clone cache of {self._cache.max_bytes:,} B", hint=_HINT
            )
        step = min(max(self._reserved, FIRST_STEP), LARGEST_STEP, room)
        step = max(self._used - self._reserved, step)
        token = f"{self._key}/{self._name}#{len(self._tokens)}"
        self._cache.reserve(token, self._key, step)
        self._tokens.append(token)
        self._reserved += step

    def settle(self, *, stored: bool) -> None:
        """Give back what was reserved. If `stored`, what is on the disk counts instead."""
        tokens, self._tokens = self._tokens, []
        self._cache.settle(tokens, self._key, self._used if stored else 0)


class Clone:
    """A repository's objects and file lists; valid inside `CloneCache.use`."""

    def __init__(self, cache: CloneCache, key: str, path: Path, packs: PackStore) -> None:
        self.key = key
        self.packs = packs
        self.commits = CommitLists(path / COMMITS)
        self._cache = cache

    def growth(self, name: str) -> Growth:
        """Room for the incoming file `name`."""
        return Growth(self._cache, self.key, name)


@dataclass(slots=True)
class _Held:
    """A clone open in this process; in use, and so locked, while `descriptor` is set."""

    clone: Clone
    identity: tuple[int, int]
    descriptor: int | None = None
    users: int = 0


class CloneCache:
    """At most `max_bytes` in `directory`, reservations included. Every method blocks.

    Safe for threads and for several processes on one local directory. `max_object_bytes` is the largest
    object taken in.
    """

    def __init__(
        self,
        directory: Path,
        max_bytes: int,
        *,
        max_object_bytes: int,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self._max_object_bytes = max_object_bytes
        self._clock_ns = clock_ns
        self._shelf = CloneShelf(directory)
        self._counters = Counters()
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._opened: CacheIndex | None = None

    def open(self, *, scan: bool = True) -> None:
        """Open the directory, made as needed. Raises `ConfigurationError` or `BackendUnavailable`."""
        try:
            self._shelf.make()
        except OSError as error:
            raise BackendUnavailable(
                f"the clone cache {self.directory} cannot be made: {error.strerror}",
                hint="see git.clone_cache_dir",
            ) from None
        self._opened, evicted = open_index(
            self.directory / "index.db", self.max_bytes, self._shelf, scan=scan, clock_ns=self._clock_ns
        )
        self._shelf.empty_trash()
        self.count("evictions", evicted)

    def close(self) -> None:
        """Unmap everything and write the counters down. Idempotent."""
        with self._lock:
            for held in self._held.values():
                held.clone.packs.close()
            self._held.clear()
        index, self._opened = self._opened, None
        if index:
            with suppress(ArchonError):
                self._counters.flush(index)
            index.close()

    @property
    def index(self) -> CacheIndex:
        """The books of the open cache."""
        if self._opened is None:
            raise BackendUnavailable(f"the clone cache {self.directory} is closed")
        return self._opened

    @contextmanager
    def use(self, url: GitUrl, scope: str, object_format: str) -> Iterator[Clone]:
        """The clone of `url` for one credential scope; it is not evicted before the context ends.

        `object_format` is `sha1` or `sha256`. What one credential opened is never served to another.
        """
        key = hashlib.sha256(f"{url}\0{scope}\0{object_format}".encode()).hexdigest()[:40]
        about = {"url": str(url), "scope": scope, "object_format": object_format}
        self._make_again()
        with disk_refusals():
            held = self._take(key, about, lambda: self._shelf.acquire(key, self._clock_ns()))
        try:
            yield held.clone
        finally:
            self._give_back(held)

    def _make_again(self) -> None:
        """Open the directory anew, empty, if it was removed while the cache is open. Raises as `open`."""
        with self._making:
            before = self._opened
            if before is None or before.path.exists():
                return
            logger.warning("the clone cache %s was removed: it is made again", self.directory)
            self.open()
            before.close()

    def count(self, name: str, count: int = 1) -> None:
        """Add to a counter: hits, hit_bytes, miss:absent, stored_bytes, evictions, corruptions."""
        self._counters.add(self.index, name, count)

    def stats(self) -> CacheStats:
        """The figures now."""
        return self._counters.stats(str(self.directory), self.index)

    def entries(self, limit: int, order: Order = "size") -> list[Listed]:
        """See `Cache.entries`."""
        ordered = sorted(self._shelf.entries(), key=lambda clone: -clone[1] if order == "size" else clone[2])
        found = []
        for key, size, used_ns in ordered[:limit]:
            about = self._about(key)
            found.append(Listed(about.get("url", "–"), size, used_ns, about.get("scope", "")))
        return found

    def clear(self) -> tuple[int, int]:
        """Remove every clone not in use; their number and bytes."""
        removed = self.index.clear()
        self._shelf.empty_trash()
        self._close_stale()
        return removed

    def verify(self, tell: Tell = quiet) -> Checkup:
        """Check every byte of every clone; damaged packs are dropped and fetched again when needed."""
        clones = size = corrupt = 0
        known = list(self._shelf.entries())
        for done, (key, clone_bytes, _) in enumerate(known):
            tell(done, len(known))
            try:
                held = self._take(key, self._about(key), partial(self._shelf.hold, key))
            except FileNotFoundError:  # evicted meanwhile
                continue
            try:
                damaged = held.clone.packs.verify()
                if damaged:
                    held.clone.commits.clear()
                    self.settle([], key, 0)
            finally:
                self._give_back(held)
            clones, size, corrupt = clones + 1, size + clone_bytes, corrupt + len(damaged)
        self.count("corruptions", corrupt)
        return Checkup(clones, size, corrupt)

    def reserve(self, token: str, key: str, size: int) -> None:
        """Promise bytes to a clone, evicting others. Raises `CloneTooLarge` or `BackendUnavailable`."""
        try:
            evicted = self.index.reserve(token, key, size, lambda: None)
        except NoRoom as error:
            if error.cause == "too_large":
                raise CloneTooLarge(f"the clone cache is too small: {error}", hint=_HINT) from None
            raise BackendUnavailable(f"the clone cache has {error}", hint=_HINT) from None
        finally:
            self._shelf.empty_trash()
        if evicted:
            self.count("evictions", evicted)
            self._close_stale()

    def settle(self, tokens: list[str], key: str, stored: int) -> None:
        """End reservations; from now on what the clone takes on disk counts."""
        for token in tokens[1:]:
            self.index.release(token, lambda: None)
        first = tokens[0] if tokens else ""
        self.index.publish(first, key, self._shelf.size(key) or 0, lambda: None)
        self.count("stored_bytes", stored)

    def _take(self, key: str, about: dict[str, str], acquire: Callable[[], int]) -> _Held:
        self._close_stale(but=key)
        with self._lock:
            held = self._held.get(key)
            if held is not None and held.descriptor is not None:
                held.users += 1
                self._held.move_to_end(key)
                return held
            descriptor = acquire()
            status = os.fstat(descriptor)
            identity = (status.st_dev, status.st_ino)
            if held is None or held.identity != identity:
                if held is not None:
                    held.clone.packs.close()
                held = self._held[key] = _Held(self._opened_clone(key, about), identity)
            held.descriptor = descriptor
            held.users = 1
            self._held.move_to_end(key)
            return held

    def _opened_clone(self, key: str, about: dict[str, str]) -> Clone:
        path = self._shelf.path(key)
        if about and not (path / ABOUT).exists():
            # It only names the clone in listings; a disk that is full may still serve what is there.
            with suppress(OSError):
                temporary = path / f"{ABOUT}.{os.getpid()}"
                write_private(temporary, json.dumps(about))
                temporary.rename(path / ABOUT)
        object_format = get_object_format(about.get("object_format", "sha1"))
        packs = PackStore(path / PACKS, object_format, self._max_object_bytes)
        packs.sweep()
        return Clone(self, key, path, packs)

    def _give_back(self, held: _Held) -> None:
        with self._lock:
            held.users -= 1
            if held.users or held.descriptor is None:
                return
            os.close(held.descriptor)
            held.descriptor = None
            idle = [key for key, other in self._held.items() if other.descriptor is None]
            for key in idle[: max(len(self._held) - OPEN_STORES, 0)]:
                self._held.pop(key).clone.packs.close()

    def _close_stale(self, *, but: str = "") -> None:
        """Let go of clones that were evicted: mapped files take space on disk although they are removed."""
        with self._lock:
            for key, held in list(self._held.items()):
                idle = held.descriptor is None and key != but
                if idle and self._shelf.identity(key) != held.identity:
                    self._held.pop(key).clone.packs.close()

    def _about(self, key: str) -> dict[str, str]:
        try:
            about = json.loads((self._shelf.path(key) / ABOUT).read_text())
        except (OSError, ValueError):
            return {}
        return about if isinstance(about, dict) else {}
