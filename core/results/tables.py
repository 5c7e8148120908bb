"""The tables of the results index and their changes. Every function runs inside one transaction.

The newest request decides a path: each row carries its request's time, a record or deletion of an older
request changes nothing, and a deletion leaves its row behind as a tombstone, so that a batch delivered
again late cannot bring a deleted path back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from core.database import Schema, encoded_path
from core.errors import UnsafeInput
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
    ),
)

_FIND = "SELECT id, requested_us, checksum, analyzer_version FROM files WHERE project_id = ? AND path = ?"
_STORE = "REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_TOMBSTONE = (None,) * 12
_NEVER = -(2**63)


class _Row(NamedTuple):
    """What stands in a path's row, `id` being None before there is one; a tombstone has no checksum."""

    id: int | None = None
    requested_us: int = _NEVER
    checksum: str | None = None
    analyzer_version: str | None = None


def put(connection: sqlite3.Connection, records: Sequence[FileRecord], requested_us: int) -> None:
    """Store `records` of the request made at `requested_us`, unless a newer one has spoken of their paths.

    Table by table: FTS5 writes a segment whenever another table is changed between its rows.
    """
    projects = {name: _project_id(connection, name) for name in {each.identity.project for each in records}}
    latest = {(projects[each.identity.project], encoded_path(each.identity.path)): each for each in records}
    rows = {where: _find(connection, *where) for where in latest}
    # The very record that stands there is a request delivered again.
    newer = {
        where: record
        for where, record in latest.items()
        if rows[where].requested_us <= requested_us
        and rows[where][1:] != (requested_us, record.identity.checksum, record.analysis.analyzer_version)
    }
    _forget(connection, [rows[where] for where in newer])
    described: list[tuple[int | None, str, str, bytes]] = []
    for where, record in newer.items():
        stored = connection.execute(_STORE, (rows[where].id, *where, requested_us, *_columns(record)))
        words = words_of_path(record.identity.path), words_of_names(record.analysis.names)
        described.append((stored.lastrowid, *words, record.analysis.json))
    connection.executemany("INSERT INTO details VALUES (?, ?, ?, ?)", described)
    connection.executemany(
        "INSERT INTO words (rowid, path_words, symbol_words) VALUES (?, ?, ?)",
        [columns[:3] for columns in described],
    )


def delete(connection: sqlite3.Connection, project: str, paths: Sequence[str], requested_us: int) -> None:
    """Forget `paths` for the request made at `requested_us`, unless a newer one has spoken of them."""
    project_id = _project_id(connection, project)
    columns: dict[str | bytes, None] = {}
    for path in paths:
        with suppress(UnsafeInput):  # text that is no path; nothing can stand there
            columns[encoded_path(path)] = None
    rows = {column: _find(connection, project_id, column) for column in columns}
    older = {column: row for column, row in rows.items() if row.requested_us <= requested_us}
    _forget(connection, older.values())
    connection.executemany(
        _STORE, [(row.id, project_id, column, requested_us, *_TOMBSTONE) for column, row in older.items()]
    )


def _project_id(connection: sqlite3.Connection, name: str) -> int:
    connection.execute("INSERT OR IGNORE INTO projects (name) VALUES (?)", (name,))
    project_id: int = connection.execute("SELECT id FROM projects WHERE name = ?", (name,)).fetchone()[0]
    return project_id


def _find(connection: sqlite3.Connection, project_id: int, path: str | bytes) -> _Row:
    row = connection.execute(_FIND, (project_id, path)).fetchone()
    return _Row(*row) if row else _Row()


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
