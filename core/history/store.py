"""The local history of files: what publishing each cost, what getting it back cost, and how it ended.

It holds no content and no path: a file is known by a digest of its path that the run's id salts.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from core.database import Database, Schema

DAY_S = 24 * 3600.0
# A row takes about 120 bytes, so that the default bound keeps the file under 64 MB.
MOST_ROWS = 500_000
TRIM_EVERY_S: Final = 3600.0
TRIM_SHARE: Final = 20
"""An open history is trimmed each hour, and when a 20th of its bound was added."""

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


@dataclass(frozen=True)
class Half:
    """Which file of which run, and when: Unix time."""

    job: str
    file: int
    at: float


@dataclass(frozen=True)
class PublishedHalf(Half):
    """What the publisher knows. Sizes are bytes, `pack_s` seconds until the log had the file.

    `backend` names the strategy's backend without its address (`minio:3f9c…`), `origin` is `work_tree`,
    `commit` or `url`, `feasible` the strategies there were to choose from. `wanted` is what another
    strategy stood in for.
    """

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


@dataclass(frozen=True)
class ConsumedHalf(Half):
    """What the consumer knows. `outcome` is `ok` or the reason of the failure; the rest is None with that."""

    source: str | None
    resolve_s: float | None
    cache_hit: int | None
    attempts: int | None
    wire_bytes: int | None
    outcome: str


@dataclass(frozen=True)
class Observation(ConsumedHalf, PublishedHalf):
    """Both halves of a file; `at` is when it was published."""

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
    # An event's path may be no path at all; it is counted all the same.
    data = path.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(data, key=job.encode()[:64], digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def _columns(half: type[Half]) -> list[str]:
    return [field.name for field in fields(half)]


def _upsert(half: type[Half], kept: frozenset[str]) -> str:
    """Adds a half to whatever is known of its file, whose `kept` columns stay."""
    names = _columns(half)
    changes = ", ".join(f"{name} = excluded.{name}" for name in names if name not in kept)
    return (
        f"INSERT INTO observations ({', '.join(names)}) "  # noqa: S608 - our own names
        f"VALUES ({', '.join(f':{name}' for name in names)}) ON CONFLICT DO UPDATE SET {changes}"
    )


_KEY = frozenset({"job", "file"})
_PUBLISHED, _CONSUMED = _upsert(PublishedHalf, _KEY), _upsert(ConsumedHalf, _KEY | {"at"})
_JOINED = "strategy IS NOT NULL AND outcome IS NOT NULL"


class History:
    """The SQLite file `path`, kept to its bounds; several processes may write it."""

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
        self._trimmed_at = 0.0
        self._added = 0

    async def __aenter__(self) -> Self:
        await self._database.open()
        await self.trim()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._database.close()

    async def trim(self) -> None:
        """Forget what is too old; of what is too much, first what others published, then the oldest."""
        await self._database.write(self._trim)

    async def add_published(self, halves: Sequence[PublishedHalf]) -> None:
        """Durable on return. Raises `BackendUnavailable`."""
        await self._database.write(lambda db: self._add(db, _PUBLISHED, halves))

    async def add_consumed(
        self, halves: Sequence[ConsumedHalf], *, synced: Sequence[tuple[str, int, int]] = ()
    ) -> None:
        """Durable on return, with `synced` (topic, partition, next offset) in the same transaction."""

        def write(db: sqlite3.Connection) -> None:
            self._add(db, _CONSUMED, halves)
            db.executemany("REPLACE INTO synced VALUES (?, ?, ?)", synced)

        await self._database.write(write)

    def _add(self, db: sqlite3.Connection, upsert: str, halves: Sequence[Half]) -> None:
        db.executemany(upsert, map(vars, halves))
        self._added += len(halves)
        is_much = self._added * TRIM_SHARE > self._max_rows
        if is_much or self._now() - self._trimmed_at >= TRIM_EVERY_S:
            self._trim(db)

    def _trim(self, db: sqlite3.Connection) -> None:
        self._trimmed_at, self._added = self._now(), 0
        db.execute("DELETE FROM observations WHERE at < ?", (self._trimmed_at - self._max_age_s,))
        (rows,) = db.execute("SELECT count(*) FROM observations").fetchone()
        if rows > self._max_rows:
            db.execute(
                """DELETE FROM observations WHERE (job, file) IN
                     (SELECT job, file FROM observations ORDER BY strategy IS NOT NULL, at LIMIT ?)""",
                (rows - self._max_rows,),
            )

    async def synced(self, topic: str) -> dict[int, int]:
        """The offset that each partition of a topic is to be read from next; those never read are absent."""
        query = "SELECT partition, offset FROM synced WHERE topic = ?"
        return await self._database.read(lambda db: dict(db.execute(query, (topic,)).fetchall()))

    async def joined(self) -> list[Observation]:
        """Every observation of which both halves are known, in the order of time."""
        names = ", ".join(_columns(Observation))
        query = f"SELECT {names} FROM observations WHERE {_JOINED} ORDER BY at, job, file"  # noqa: S608 - our own names
        rows: list[tuple[Any, ...]] = await self._database.read(lambda db: db.execute(query).fetchall())
        return [Observation(*row) for row in rows]

    async def totals(self) -> HistoryTotals:
        """How much there is."""
        query = f"SELECT total({_JOINED}), count(*), min(at), max(at) FROM observations"  # noqa: S608 - our own words
        joined, rows, first, last = await self._database.read(lambda db: db.execute(query).fetchone())
        return HistoryTotals(int(joined), rows - int(joined), first, last)
