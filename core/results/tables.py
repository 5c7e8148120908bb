"""The tables of the results index and their changes. Every function runs inside one transaction.

The newest request decides a path: each row carries its request's position in the log, a record or deletion
of an older request changes nothing, and a deletion leaves its row behind as a tombstone, so that a batch
delivered again late cannot bring a deleted path back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from core.database import Schema, encoded_path
from core.errors import UnsafeInput
from core.events.order import RequestPosition
from core.events.record import FileRecord
from core.results.words import words_of_names, words_of_path

SCHEMA = Schema(
    name="results index",
    application_id=0x6172_7273,
    page_bytes=8 * 1024,
    cache_bytes=16 * 1024 * 1024,
    migrations=(
        (
            "CREATE TABLE projects (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
            # `path` is TEXT or, where not UTF-8, a BLOB. A tombstone has no checksum, nor what follows it.
            """CREATE TABLE files (
                id INTEGER PRIMARY KEY,
                project_id INTEGER NOT NULL REFERENCES projects,
                path NOT NULL,
                requested_us INTEGER NOT NULL,
                checksum TEXT,
                checksum_verified INTEGER,
                size_bytes INTEGER,
                content_source TEXT,
                correlation_id TEXT,
                generated_at TEXT,
                analyzer_version TEXT,
                language TEXT,
                code_lines INTEGER,
                symbols INTEGER,
                max_complexity INTEGER,
                quality REAL,
                UNIQUE (project_id, path))""",
            # Apart from `files`, which lists and sorts without reading it.
            """CREATE TABLE details (
                id INTEGER PRIMARY KEY,
                path_words TEXT NOT NULL,
                symbol_words TEXT NOT NULL,
                analysis BLOB NOT NULL)""",
            # The words need no further cutting; ascii takes every other byte as part of a word.
            """CREATE VIRTUAL TABLE words USING fts5 (
                path_words, symbol_words,
                content = 'details', content_rowid = 'id',
                tokenize = 'ascii', detail = column, columnsize = 0)""",
        ),
        # Where each request stands in the log; rows from before have only a time, which may lie ahead.
        (
            "ALTER TABLE files ADD COLUMN topic TEXT",
            "ALTER TABLE files ADD COLUMN partition INTEGER",
            'ALTER TABLE files ADD COLUMN "offset" INTEGER',
            "ALTER TABLE files ADD COLUMN logged_us INTEGER",
            "ALTER TABLE files ADD COLUMN log_clock INTEGER",
            """UPDATE files
                SET requested_us = min(requested_us, CAST(strftime('%s', 'now') AS INTEGER) * 1000000)""",
        ),
    ),
)

_FIND = """SELECT id, checksum, analyzer_version, requested_us,
    topic, partition, "offset", logged_us, log_clock FROM files WHERE project_id = ? AND path = ?"""
_STORE = "REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_MOVE = """UPDATE files SET topic = ?, partition = ?, "offset" = ?, logged_us = ?, log_clock = ?
    WHERE id = ?"""
_TOMBSTONE = (None,) * 12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Order(NamedTuple):
    """A request's place among others, as columns; the others are None where no log told it."""

    requested_us: int
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    logged_us: int | None = None
    log_clock: bool | None = None

    @classmethod
    def of(cls, position: RequestPosition | None, requested_at: datetime) -> Order:
        """The columns of a position; `requested_at` stands alone where there is none."""
        if position is None:
            return cls(_microseconds(requested_at))
        logged_us = _microseconds(position.logged_at)
        requested_us = _microseconds(requested_at)
        place = position.topic, position.partition, position.offset
        return cls(requested_us, *place, logged_us, position.log_clock)

    def is_older_than(self, other: Order) -> bool:
        """As `RequestPosition.is_older_than`; a row of an older archon is compared by time alone."""
        mine, others = self._position(), other._position()
        if mine and others:
            return mine.is_older_than(others)
        return self._time_us() < other._time_us()

    def _time_us(self) -> int:
        return self.requested_us if self.logged_us is None else self.logged_us

    def _position(self) -> RequestPosition | None:
        if self.topic is None or self.partition is None or self.offset is None or self.logged_us is None:
            return None
        return RequestPosition.model_construct(
            requested_at=_EPOCH + timedelta(microseconds=self.requested_us),
            topic=self.topic,
            partition=self.partition,
            offset=self.offset,
            logged_at=_EPOCH + timedelta(microseconds=self.logged_us),
            log_clock=bool(self.log_clock),
        )


class _Row(NamedTuple):
    """What stands in a path's row; a tombstone has no checksum, and no row at all has no `order`."""

    id: int | None = None
    checksum: str | None = None
    analyzer_version: str | None = None
    order: Order | None = None

    def overtakes(self, order: Order) -> bool:
        """Whether a newer request than that of `order` has spoken of the path."""
        return self.order is not None and order.is_older_than(self.order)

    def is_of(self, record: FileRecord, order: Order) -> bool:
        """Whether the very record stands there, of a request that was delivered again."""
        standing = (self.checksum, self.analyzer_version, self.order and self.order.requested_us)
        return standing == (record.identity.checksum, record.analysis.analyzer_version, order.requested_us)


def put(connection: sqlite3.Connection, records: Sequence[FileRecord], order: Order) -> int:
    """Store `records` of the request of `order`, unless a newer one has spoken of their paths.

    Returns how many were overtaken. Table by table: FTS5 writes a segment whenever another table is
    changed between its rows.
    """
    projects = {name: _project_id(connection, name) for name in {each.identity.project for each in records}}
    latest = {(projects[each.identity.project], encoded_path(each.identity.path)): each for each in records}
    rows = {where: _find(connection, *where) for where in latest}
    current = {where: record for where, record in latest.items() if not rows[where].overtakes(order)}
    same = {rows[where].id for where, record in current.items() if rows[where].is_of(record, order)}
    connection.executemany(_MOVE, [(*order[1:], row_id) for row_id in same])
    newer = {where: record for where, record in current.items() if rows[where].id not in same}
    _forget(connection, [rows[where] for where in newer])
    described: list[tuple[int | None, str, str, bytes]] = []
    for where, record in newer.items():
        values = (rows[where].id, *where, order.requested_us, *_columns(record), *order[1:])
        stored = connection.execute(_STORE, values)
        words = words_of_path(record.identity.path), words_of_names(record.analysis.names)
        described.append((stored.lastrowid, *words, record.analysis.json))
    connection.executemany("INSERT INTO details VALUES (?, ?, ?, ?)", described)
    connection.executemany(
        "INSERT INTO words (rowid, path_words, symbol_words) VALUES (?, ?, ?)",
        [columns[:3] for columns in described],
    )
    return sum(row.overtakes(order) for row in rows.values())


def overtaken(connection: sqlite3.Connection, project: str, paths: Collection[str], order: Order) -> set[str]:
    """Those of `paths` of which a newer request than that of `order` has spoken."""
    found = connection.execute("SELECT id FROM projects WHERE name = ?", (project,)).fetchone()
    late: set[str] = set()
    for path in paths if found else ():
        with suppress(UnsafeInput):
            if _find(connection, found[0], encoded_path(path)).overtakes(order):
                late.add(path)
    return late


def delete(connection: sqlite3.Connection, project: str, paths: Sequence[str], order: Order) -> int:
    """Forget `paths` for the request of `order`, unless a newer one has spoken of them.

    Returns how many were overtaken.
    """
    project_id = _project_id(connection, project)
    columns: dict[str | bytes, None] = {}
    for path in paths:
        with suppress(UnsafeInput):  # text that is no path; nothing can stand there
            columns[encoded_path(path)] = None
    rows = {column: _find(connection, project_id, column) for column in columns}
    older = {column: row for column, row in rows.items() if not row.overtakes(order)}
    _forget(connection, older.values())
    connection.executemany(
        _STORE,
        [
            (row.id, project_id, column, order.requested_us, *_TOMBSTONE, *order[1:])
            for column, row in older.items()
        ],
    )
    return len(rows) - len(older)


def _project_id(connection: sqlite3.Connection, name: str) -> int:
    connection.execute("INSERT OR IGNORE INTO projects (name) VALUES (?)", (name,))
    project_id: int = connection.execute("SELECT id FROM projects WHERE name = ?", (name,)).fetchone()[0]
    return project_id


def _find(connection: sqlite3.Connection, project_id: int, path: str | bytes) -> _Row:
    row = connection.execute(_FIND, (project_id, path)).fetchone()
    if row is None:
        return _Row()
    row_id, checksum, analyzer_version, *order = row
    return _Row(row_id, checksum, analyzer_version, Order(*order))


def _microseconds(moment: datetime) -> int:
    """Since the epoch; a time without a zone is UTC."""
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def _forget(connection: sqlite3.Connection, rows: Iterable[_Row]) -> None:
    """Remove what hangs on rows; the index of words is told the old ones while they are still there."""
    ids = [(row.id,) for row in rows if row.checksum is not None]
    connection.executemany(
        """INSERT INTO words (words, rowid, path_words, symbol_words)
           SELECT 'delete', id, path_words, symbol_words FROM details WHERE id = ?""",
        ids,
    )
    connection.executemany("DELETE FROM details WHERE id = ?", ids)


def _columns(record: FileRecord) -> tuple[object, ...]:
    """The columns of `files` from `checksum` on."""
    file, analysis = record.identity, record.analysis
    return (
        file.checksum,
        file.checksum_verified,
        file.size_bytes,
        file.content_source,
        file.correlation_id,
        file.generated_at.isoformat(),
        analysis.analyzer_version,
        analysis.language,
        analysis.code_lines,
        len(analysis.names),
        analysis.max_complexity,
        analysis.quality,
    )
