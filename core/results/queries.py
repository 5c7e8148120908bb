"""What is read from the results index. Every function runs on one snapshot."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from core.database import decoded_path, encoded_path
from core.results.records import (
    ComplexFunction,
    IndexedFile,
    LanguageTotals,
    ProjectSummary,
    ProjectTotals,
    SearchHit,
    StoredRecord,
)
from core.results.words import beginnings, is_named

SORTS = {
    "path": "name, path",
    "complexity": "max_complexity DESC NULLS LAST, name, path",
    "quality": "quality ASC NULLS LAST, name, path",
    "size": "size_bytes DESC, name, path",
}
"""The orders that `ids` knows: most complex, worst and largest come first."""

_FILES = "files JOIN projects ON projects.id = project_id"
_COLUMNS = """name, path, checksum, checksum_verified, size_bytes, content_source, correlation_id,
    generated_at, analyzer_version, language, code_lines, symbols, max_complexity, quality"""


def ids(
    connection: sqlite3.Connection, project: str | None, language: str | None, sort: str, limit: int | None
) -> list[int]:
    """The ids of the files with records, of one project or language if given, as `SORTS[sort]` orders."""
    rows = connection.execute(
        f"""SELECT files.id FROM {_FILES} WHERE checksum IS NOT NULL
            AND (:project IS NULL OR name = :project) AND (:language IS NULL OR language = :language)
            ORDER BY {SORTS[sort]} LIMIT :limit""",  # noqa: S608, constants only
        {"project": project, "language": language, "limit": -1 if limit is None else limit},
    )
    return [file_id for (file_id,) in rows]


def files(connection: sqlite3.Connection, chosen: Sequence[int]) -> list[IndexedFile]:
    """The files with the ids `chosen`, in that order; those deleted meanwhile are left out."""
    return [_file(row) for row in _rows(connection, _COLUMNS, _FILES, chosen)]


def records(connection: sqlite3.Connection, chosen: Sequence[int]) -> list[StoredRecord]:
    """The whole records with the ids `chosen`, in that order; those deleted meanwhile are left out."""
    joined = f"{_FILES} JOIN details ON details.id = files.id"
    rows = _rows(connection, f"{_COLUMNS}, analysis", joined, chosen)
    return [StoredRecord(_file(row[:-1]), row[-1]) for row in rows]


def record(connection: sqlite3.Connection, project: str, path: str) -> StoredRecord | None:
    """The record of one path."""
    row = connection.execute(
        f"SELECT files.id FROM {_FILES} WHERE name = ? AND path = ?",  # noqa: S608, constants only
        (project, encoded_path(path)),
    ).fetchone()
    return next(iter(records(connection, row)), None) if row else None


def search(connection: sqlite3.Connection, query: str, project: str | None, limit: int) -> list[SearchHit]:
    """Files in which a word begins with each word of `query`; those found by their path alone come first."""
    if not (asked := beginnings(query)):
        return []
    wanted = " ".join(f'"{beginning}"*' for beginning in asked)
    rows = connection.execute(
        """SELECT name, path, language, analysis FROM words
            JOIN files ON files.id = words.rowid
            JOIN projects ON projects.id = project_id
            JOIN details ON details.id = files.id
            WHERE words MATCH :wanted AND (:project IS NULL OR name = :project)
            ORDER BY files.id NOT IN (SELECT rowid FROM words WHERE words MATCH :by_path), name, path
            LIMIT :limit""",
        {"wanted": wanted, "by_path": f"path_words : ({wanted})", "project": project, "limit": limit},
    )
    return [
        SearchHit(name, decoded_path(path), language, _matching_symbols(analysis, asked))
        for name, path, language, analysis in rows
    ]


def projects(connection: sqlite3.Connection) -> list[ProjectTotals]:
    """Every project that has records, by name."""
    rows = connection.execute(
        f"""SELECT name, count(*), sum(size_bytes), max(generated_at) FROM {_FILES}
            WHERE checksum IS NOT NULL GROUP BY name ORDER BY name"""  # noqa: S608, constants only
    )
    return [
        ProjectTotals(name, count, size, datetime.fromisoformat(newest)) for name, count, size, newest in rows
    ]


def summary(connection: sqlite3.Connection, project: str, functions: int) -> ProjectSummary:
    """A project at a glance, with its `functions` most complex functions."""
    rows = connection.execute(
        f"""SELECT language, count(*), sum(size_bytes), ifnull(sum(code_lines), 0) FROM {_FILES}
            WHERE checksum IS NOT NULL AND name = ? GROUP BY language
            ORDER BY 4 DESC, 3 DESC, language""",  # noqa: S608, constants only
        (project,),
    )
    languages = tuple(LanguageTotals(*row) for row in rows)
    # Each of the n most complex functions is in one of the n files with the highest maximum.
    likely = records(connection, ids(connection, project, None, "complexity", functions))
    found = [
        ComplexFunction(stored.file.path, symbol["name"], symbol["start_line"], symbol["complexity"])
        for stored in likely
        for symbol in _symbols(stored.analysis)
        if symbol["complexity"] is not None
    ]
    found.sort(key=lambda function: (-function.complexity, function.path, function.start_line))
    return ProjectSummary(
        project,
        files=sum(item.files for item in languages),
        bytes=sum(item.bytes for item in languages),
        code_lines=sum(item.code_lines for item in languages),
        languages=languages,
        complex_functions=tuple(found[:functions]),
    )


def _rows(connection: sqlite3.Connection, columns: str, source: str, chosen: Sequence[int]) -> list[Any]:
    rows = connection.execute(
        f"SELECT files.id, {columns} FROM {source} "  # noqa: S608, constants and question marks
        f"WHERE checksum IS NOT NULL AND files.id IN ({', '.join('?' * len(chosen))})",
        tuple(chosen),
    )
    by_id = {file_id: row for file_id, *row in rows}
    return [by_id[file_id] for file_id in chosen if file_id in by_id]


def _file(row: Sequence[Any]) -> IndexedFile:
    file = IndexedFile(*row)
    return file._replace(
        path=decoded_path(row[1]),
        checksum_verified=bool(file.checksum_verified),
        generated_at=datetime.fromisoformat(row[7]),
    )


def _matching_symbols(analysis: bytes, asked: Sequence[str]) -> tuple[str, ...]:
    names = dict.fromkeys(symbol["name"] for symbol in _symbols(analysis))
    return tuple(name for name in names if is_named(name, asked))


def _symbols(analysis: bytes) -> list[dict[str, Any]]:
    symbols: list[dict[str, Any]] = json.loads(analysis)["symbols"]
    return symbols
