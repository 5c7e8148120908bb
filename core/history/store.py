"""The local history of files: what publishing each cost, what getting it back cost, and how it ended.

It holds no content and no path: a file is known by a digest of its path that the run's id salts.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

from core.database import Database, Schema
from core.safety.path import to_bytes

DAY_S = 24 * 3600.0
# A row takes about 120 bytes, so that the default bound keeps the file under 64 MB.
MOST_ROWS = 500_000

SCHEMA = Schema(
    name="observation history",
    application_id=0x6172_6F62,
    migrations=(
        (
            # Columns up to `encoded_bytes` are the publisher's half, those from `source` on the consumer's.
            """CREATE TABLE observations (
                 job TEXT NOT NULL, file INTEGER NOT NULL, at REAL NOT NULL,
                 project TEXT, strategy TEXT, backend TEXT, origin TEXT, feasible TEXT, size INTEGER,
                 language TEXT, extension TEXT, encoding TEXT, pack_s REAL, wanted TEXT,
                 encoded_bytes INTEGER,
                 source TEXT, resolve_s REAL, cache_hit INTEGER, attempts INTEGER, wire_bytes INTEGER,
                 outcome TEXT,
                 PRIMARY KEY (job, file)) WITHOUT ROWID""",
            "CREATE INDEX observations_at ON observations (at)",
            """CREATE TABLE synced (
                 topic TEXT, partition INTEGER, offset INTEGER, PRIMARY KEY (topic, partition))""",
        ),
    ),
)


class PublishedHalf(NamedTuple):
    """What the publisher knows. Sizes are bytes, `pack_s` seconds until the log had the file.

    `backend` names the strategy's backend without its address (`minio:3f9c…`), `origin` is `work_tree`,
    `commit` or `url`, `feasible` the strategies there were to choose from. `wanted` is what another
    strategy stood in for.
    """

    job: str
    file: int
    at: float
    project: str
    strategy: str
    backend: str
    origin: str
    feasible: str
    size: int
    language: str | None
    extension: str
    encoding: str | None
    pack_s: float
    wanted: str | None
    encoded_bytes: int


class ConsumedHalf(NamedTuple):
    """What the consumer knows. `outcome` is `ok` or the reason of the failure; the rest is None with that."""

    job: str
    file: int
    at: float
    source: str | None
    resolve_s: float | None
    cache_hit: bool | None
    attempts: int | None
    wire_bytes: int | None
    outcome: str


class Observation(NamedTuple):
    """Both halves of a file; those of the columns."""

    job: str
    file: int
    at: float
    project: str
    strategy: str
    backend: str
    origin: str
    feasible: str
    size: int
    language: str | None
    extension: str
    encoding: str | None
    pack_s: float
    wanted: str | None
    encoded_bytes: int
    source: str | None
    resolve_s: float | None
    cache_hit: int | None
    attempts: int | None
    wire_bytes: int | None
    outcome: str

    @property
    def failed(self) -> bool:
        """Whether the file did not arrive."""
        return self.outcome != "ok"


class HistoryTotals(NamedTuple):
    """How much there is: observations with both halves, with one, and the first and last, Unix time."""

    joined: int
    waiting: int
    first: float | None
    last: float | None


def file_key(job: str, path: str) -> int:
    """The file's number in a run: 63 bits of a digest that the run's id salts."""
    digest = hashlib.blake2b(to_bytes(path), key=job.encode()[:64], digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def _upsert(half: type[PublishedHalf | ConsumedHalf]) -> str:
    names = half._fields
    changes = ", ".join(f"{name} = excluded.{name}" for name in names if name not in {"job", "file", "at"})
    return (
        f"INSERT INTO observations ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "  # noqa: S608 - our own names
        f"ON CONFLICT DO UPDATE SET {changes}"
    )


_PUBLISHED, _CONSUMED = _upsert(PublishedHalf), _upsert(ConsumedHalf)
_JOINED = "strategy IS NOT NULL AND outcome IS NOT NULL"


class History:
    """The SQLite file `path`, trimmed to its bounds when opened; several processes may write it."""

    def __init__(
        self,
        path: Path,
        *,
        max_age_s: float = 90 * DAY_S,
        max_rows: int = MOST_ROWS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._database = Database(path, SCHEMA)
        self._max_age_s = max_age_s
        self._max_rows = max_rows
        self._now = now

    async def __aenter__(self) -> Self:
        await self._database.open()
        await self.trim()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._database.close()

    async def trim(self) -> None:
        """Forget what is too old, then the oldest of what is too much."""
        oldest = self._now() - self._max_age_s
        await self._database.write(partial(_trim, oldest=oldest, most=self._max_rows))

    async def add_published(self, halves: Sequence[PublishedHalf]) -> None:
        """Durable on return. Raises `BackendUnavailable`."""
        await self._database.write(lambda db: db.executemany(_PUBLISHED, halves))

    async def add_consumed(
        self, halves: Sequence[ConsumedHalf], *, synced: tuple[str, int, int] | None = None
    ) -> None:
        """Durable on return, with `synced` (topic, partition, next offset) in the same transaction."""

        def write(db: sqlite3.Connection) -> None:
            db.executemany(_CONSUMED, halves)
            if synced:
                db.execute("REPLACE INTO synced VALUES (?, ?, ?)", synced)

        await self._database.write(write)

    async def synced(self, topic: str, partition: int) -> int:
        """The offset that a topic's partition is to be read from next."""
        found = await self._database.read(
            lambda db: db.execute(
                "SELECT offset FROM synced WHERE topic = ? AND partition = ?", (topic, partition)
            ).fetchone()
        )
        return found[0] if found else 0

    async def joined(self) -> list[Observation]:
        """Every observation of which both halves are known, in the order of time."""
        names = ", ".join(Observation._fields)
        query = f"SELECT {names} FROM observations WHERE {_JOINED} ORDER BY at, job, file"  # noqa: S608 - our own names
        rows: list[tuple[Any, ...]] = await self._database.read(lambda db: db.execute(query).fetchall())
        return [Observation(*row) for row in rows]

    async def totals(self) -> HistoryTotals:
        """How much there is."""
        query = f"SELECT total({_JOINED}), count(*), min(at), max(at) FROM observations"  # noqa: S608 - our own words
        joined, rows, first, last = await self._database.read(lambda db: db.execute(query).fetchone())
        return HistoryTotals(int(joined), rows - int(joined), first, last)


def _trim(db: sqlite3.Connection, *, oldest: float, most: int) -> None:
    db.execute("DELETE FROM observations WHERE at < ?", (oldest,))
    (rows,) = db.execute("SELECT count(*) FROM observations").fetchone()
    if rows > most:
        db.execute(
            """DELETE FROM observations WHERE (job, file) IN
                 (SELECT job, file FROM observations ORDER BY at LIMIT ?)""",
            (rows - most,),
        )
