"""The books of a cache directory: what is in it, what is promised, and what goes first.

A row is written before its bytes are and removed after they are gone, so that the books may claim too
much after a crash, never too little. SQLite's write lock is the mutex between processes: whatever
creates, renames or removes a file does it inside a transaction.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.cache.base import Listed
from core.database import Schema, connect, explaining, transaction
from core.errors import BackendUnavailable

_TABLES = """
CREATE TABLE entries (key TEXT PRIMARY KEY, bytes INTEGER NOT NULL, used_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX entries_by_use ON entries (used_ns, key);
CREATE TABLE reservations (token TEXT PRIMARY KEY, key TEXT NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE usage (bytes INTEGER NOT NULL);
INSERT INTO usage VALUES (0)
"""
_ACCOUNTING = (
    "CREATE TRIGGER {table}_{event} AFTER {event} ON {table} BEGIN"
    " UPDATE usage SET bytes = bytes + {change}; END"
)
_CHANGES = {"INSERT": "new.bytes", "DELETE": "-old.bytes", "UPDATE": "new.bytes - old.bytes"}
_SCHEMA = Schema(
    name="cache index",
    application_id=0x61726361,  # "arca"
    migrations=(
        (
            *_TABLES.split(";"),
            *(
                _ACCOUNTING.format(table=table, event=event, change=change)
                for table in ("entries", "reservations")
                for event, change in _CHANGES.items()
            ),
        ),
    ),
)
# Not INSERT OR REPLACE: that fires no trigger for the row it removes.
_PUT = (
    "INSERT INTO entries VALUES (?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET bytes = excluded.bytes, used_ns = excluded.used_ns"
)


logger = logging.getLogger(__name__)


class NoRoom(Exception):
    """The cache cannot take this many bytes; `cause` is the word that counters carry."""

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class Shelf(Protocol):
    """Where the entries are. Every method is called with the index locked against other processes."""

    def last_used(self, key: str) -> int | None:
        """When an entry was last used, in nanoseconds since the epoch; None if it is not there."""
        ...

    def size(self, key: str) -> int | None:
        """An entry's bytes, None if it is not there."""
        ...

    def remove(self, key: str, *, even_in_use: bool = False) -> bool:
        """Remove an entry; False if somebody is reading it and it stays."""
        ...

    def sweep(self) -> None:
        """Remove the unpublished work of processes that died."""
        ...

    def at_work(self, token: str) -> bool:
        """Whether the work of a reservation is there, unpublished."""
        ...

    def entries(self) -> Iterable[tuple[str, int, int]]:
        """(key, bytes, last use) of every entry."""
        ...


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes and numbers of entries and of reservations not yet published."""

    entries: int
    entry_bytes: int
    reservations: int
    reserved_bytes: int


class CacheIndex:
    """Accounts for at most `max_bytes`, reservations included. Safe for threads and processes.

    The last use is kept on the shelf (a file's time) and copied here when an entry's turn comes, so a
    hit writes nothing here. Methods raise what `core.database.connect` and `explaining` raise.
    """

    def __init__(
        self, path: Path, max_bytes: int, shelf: Shelf, *, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self._shelf = shelf
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._connection = connect(path, _SCHEMA)
        # The directory can be scanned again: no need to wait for the disk at every commit.
        self._connection.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        """Idempotent."""
        self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, explaining(self.path, _SCHEMA.name), transaction(self._connection):
            yield self._connection

    def reserve(self, token: str, key: str, size: int, begin: Callable[[], None]) -> int:
        """Promise `size` bytes to `key`, evicting what was not used for longest; the number evicted.

        `begin` starts the work under the lock, so that nobody takes it for abandoned. Raises NoRoom.
        """
        if size > self.max_bytes:
            raise NoRoom(f"{size:,} B is more than the whole cache of {self.max_bytes:,} B", "too_large")
        with self._writing() as connection:
            fits, evicted = self._make_room(connection, size)
            if fits:
                begin()
                connection.execute("INSERT INTO reservations VALUES (?, ?, ?)", (token, key, size))
        if not fits:
            raise NoRoom(f"no room for {size:,} B: all else is in use", "in_use")
        return evicted

    def publish(self, token: str, key: str, size: int, place: Callable[[], None]) -> None:
        """Turn a reservation into an entry; `place` moves the bytes to where entries are."""
        with self._writing() as connection:
            place()
            connection.execute("DELETE FROM reservations WHERE token = ?", (token,))
            connection.execute(_PUT, (key, size, self._clock_ns()))

    def release(self, token: str, discard: Callable[[], None]) -> None:
        """Give a reservation back after `discard` has removed its bytes."""
        with self._writing() as connection:
            discard()
            connection.execute("DELETE FROM reservations WHERE token = ?", (token,))

    def drop(self, key: str) -> bool:
        """Remove one entry, whoever reads it; True if it was in the books."""
        with self._writing() as connection:
            self._shelf.remove(key, even_in_use=True)
            return connection.execute("DELETE FROM entries WHERE key = ?", (key,)).rowcount > 0

    def drop_if_known(self, key: str) -> bool:
        """Forget an entry whose file is gone; True if it was in the books."""
        with self._lock, explaining(self.path, _SCHEMA.name):
            known = self._connection.execute("SELECT 1 FROM entries WHERE key = ?", (key,)).fetchone()
        if not known:
            return False
        with self._writing() as connection:
            if self._shelf.size(key) is not None:
                return False  # published again meanwhile
            return connection.execute("DELETE FROM entries WHERE key = ?", (key,)).rowcount > 0

    def clear(self) -> tuple[int, int]:
        """Remove every entry that nobody is reading; their number and bytes."""
        removed = freed = 0
        with self._writing() as connection:
            for key, size in connection.execute("SELECT key, bytes FROM entries").fetchall():
                if self._shelf.remove(key):
                    connection.execute("DELETE FROM entries WHERE key = ?", (key,))
                    removed, freed = removed + 1, freed + size
        return removed, freed

    def reconcile(self) -> int:
        """Make the books agree with the shelf.

        Abandoned reservations are swept, and what exceeds the cap (it may have been lowered) is evicted;
        returns how many entries that were.
        """
        with self._writing() as connection:
            connection.execute("DELETE FROM entries")
            connection.executemany("INSERT INTO entries VALUES (?, ?, ?)", self._shelf.entries())
            self._sweep(connection)
            return self._make_room(connection, 0)[1]

    def known(self) -> list[str]:
        """Every entry's key, least recently used first as far as the books know."""
        with self._lock, explaining(self.path, _SCHEMA.name):
            rows = self._connection.execute("SELECT key FROM entries ORDER BY used_ns, key")
            return [key for (key,) in rows]

    def largest(self, limit: int) -> list[Listed]:
        """The largest entries, largest first, with their last use."""
        with self._lock, explaining(self.path, _SCHEMA.name):
            rows = self._connection.execute(
                "SELECT key, bytes, used_ns FROM entries ORDER BY bytes DESC, key LIMIT ?", (limit,)
            ).fetchall()
            return [Listed(key, size, self._shelf.last_used(key) or used) for key, size, used in rows]

    def oldest(self, limit: int) -> list[Listed]:
        """The least recently used entries, oldest first."""
        found: list[Listed] = []
        with self._lock, explaining(self.path, _SCHEMA.name):
            for key, size, used in self._connection.execute(
                "SELECT key, bytes, used_ns FROM entries ORDER BY used_ns, key"
            ):
                # A hit is not in the books, so the shelf says later: what follows was used later still.
                if len(found) >= limit and used >= found[-1].used_ns:
                    break
                found.append(Listed(key, size, self._shelf.last_used(key) or used))
                found = sorted(found, key=lambda entry: entry.used_ns)[:limit]
        return found

    def usage(self) -> Usage:
        """What the books hold."""
        with self._lock, explaining(self.path, _SCHEMA.name):
            row = self._connection.execute(
                "SELECT (SELECT count(*) FROM entries), (SELECT coalesce(sum(bytes), 0) FROM entries),"
                " (SELECT count(*) FROM reservations), (SELECT coalesce(sum(bytes), 0) FROM reservations)"
            ).fetchone()
        return Usage(*row)

    def count(self, deltas: Mapping[str, int]) -> None:
        """Add to the lifetime counters."""
        with self._writing() as connection:
            connection.executemany(
                "INSERT INTO counters VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                deltas.items(),
            )

    def counters(self) -> dict[str, int]:
        """The lifetime counters of every process that used this directory."""
        with self._lock, explaining(self.path, _SCHEMA.name):
            return dict(self._connection.execute("SELECT name, value FROM counters"))

    def _make_room(self, connection: sqlite3.Connection, size: int) -> tuple[bool, int]:
        """Evict until `size` bytes fit; whether they do, and how many entries went.

        Nothing goes in vain for reservations, which no eviction frees; entries in use are found one by one.
        """
        if _used(connection) + size <= self.max_bytes:
            return True, 0
        self._sweep(connection)
        if self._reserved(connection) + size > self.max_bytes:
            return False, 0
        evicted = 0
        in_use: set[str] = set()
        while _used(connection) + size > self.max_bytes:
            oldest = connection.execute(
                "SELECT key, used_ns FROM entries ORDER BY used_ns, key LIMIT 1"
            ).fetchone()
            if oldest is None or oldest[0] in in_use:
                return False, evicted
            key, used_ns = oldest
            actual = self._shelf.last_used(key)
            if actual is not None and actual > used_ns:
                self._used_at(connection, key, actual)
            elif actual is None or self._shelf.remove(key):
                connection.execute("DELETE FROM entries WHERE key = ?", (key,))
                evicted += actual is not None
            else:
                # Behind every other entry, also behind one that a clock that was ahead dated later.
                in_use.add(key)
                newest = connection.execute("SELECT max(used_ns) FROM entries").fetchone()[0]
                self._used_at(connection, key, max(self._clock_ns(), newest + 1))
        return True, evicted

    def _sweep(self, connection: sqlite3.Connection) -> None:
        """Settle reservations whose process died: at work, or between placing the bytes and saying so."""
        self._shelf.sweep()
        for token, key in connection.execute("SELECT token, key FROM reservations").fetchall():
            if self._shelf.at_work(token):
                continue
            connection.execute("DELETE FROM reservations WHERE token = ?", (token,))
            placed = self._shelf.size(key)
            if placed is not None:
                connection.execute(_PUT, (key, placed, self._shelf.last_used(key) or 0))

    @staticmethod
    def _reserved(connection: sqlite3.Connection) -> int:
        reserved: int = connection.execute("SELECT coalesce(sum(bytes), 0) FROM reservations").fetchone()[0]
        return reserved

    @staticmethod
    def _used_at(connection: sqlite3.Connection, key: str, used_ns: int) -> None:
        connection.execute("UPDATE entries SET used_ns = ? WHERE key = ?", (used_ns, key))


def open_index(
    path: Path, max_bytes: int, shelf: Shelf, *, scan: bool, clock_ns: Callable[[], int] = time.time_ns
) -> tuple[CacheIndex, int]:
    """The index at `path`, and the number of entries evicted to make it agree with the shelf.

    `scan` asks for that; an index that is missing or damaged is made from the shelf in any case. Raises
    `ConfigurationError` or `BackendUnavailable`.
    """
    scan = scan or not path.exists()
    try:
        index = CacheIndex(path, max_bytes, shelf, clock_ns=clock_ns)
        try:
            return index, index.reconcile() if scan else 0
        except BaseException:
            index.close()
            raise
    except BackendUnavailable as error:
        if "damaged" not in str(error):
            raise
        logger.warning("%s; it is made anew from the directory", error)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    index = CacheIndex(path, max_bytes, shelf, clock_ns=clock_ns)
    return index, index.reconcile()


def _used(connection: sqlite3.Connection) -> int:
    used: int = connection.execute("SELECT bytes FROM usage").fetchone()[0]
    return used
