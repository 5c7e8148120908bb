"""What of each project the log has acknowledged, so that the next ingestion publishes only what changed.

One SQLite file; rows belong to a scope, which is the log and the project. A path leaves a row only after
the log acknowledged it, so a run that is killed at any point is merely repeated in part.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from core.database import Schema, connect, decoded_path, encoded_path, explaining, insert, transaction
from core.repository.facts import Entry, FileFacts

SCHEMA = Schema(
    name="manifest",
    application_id=0x61726D66,
    migrations=(
        (
            """CREATE TABLE published (
                 scope TEXT NOT NULL, path BLOB NOT NULL, checksum TEXT, version TEXT,
                 PRIMARY KEY (scope, path)) WITHOUT ROWID""",
        ),
        ("CREATE TABLE newest (scope TEXT PRIMARY KEY, at TEXT NOT NULL) WITHOUT ROWID",),
    ),
)


def is_hidden(path: str, hidden: Collection[str]) -> bool:
    """Whether `path` or a directory above it is among `hidden`; `.` is above all."""
    parents = (path[:at] for at, char in enumerate(path) if char == "/")
    return bool(hidden) and (path in hidden or "." in hidden or any(parent in hidden for parent in parents))


class Published(NamedTuple):
    """What was published of a path: the checksum, and the version token of its listing."""

    checksum: str | None
    version: str | None


class SqliteManifest:
    """The manifest of one scope during one run. Blocking calls of microseconds each; not thread-safe
    beyond one call at a time per connection, so reading and recording have a connection each.
    """

    def __init__(self, path: Path, scope: str) -> None:
        """Raises what `core.database.connect` raises."""
        self._path = path
        self._scope = scope
        self._verified: list[tuple[str, str, str | bytes]] = []
        self._hidden: set[str] = set()
        self._reading = connect(path, SCHEMA)
        self._writing = connect(path, SCHEMA)
        # Acknowledgement is durable in the log; losing the newest rows to a power cut republishes them.
        self._writing.execute("PRAGMA synchronous = NORMAL")
        # Paths met in this run, in a temporary file, so that memory does not grow with the repository.
        self._reading.execute("PRAGMA temp_store = FILE")
        self._reading.execute("CREATE TEMP TABLE met (path BLOB PRIMARY KEY) WITHOUT ROWID")

    def published(self, entries: Sequence[Entry]) -> Sequence[Published | None]:
        """What was published of each entry's path; also notes that the paths exist."""
        self._keep_verified()
        paths = [encoded_path(entry.path) for entry in entries]
        with explaining(self._path, SCHEMA.name), transaction(self._reading, "DEFERRED"):
            insert(self._reading, "INSERT OR IGNORE INTO met VALUES", [(path,) for path in paths])
            found = {
                path: Published(*row)
                for path, *row in self._reading.execute(
                    "SELECT path, checksum, version FROM published"  # noqa: S608 - question marks only
                    f" WHERE scope = ? AND path IN ({', '.join('?' * len(paths))})",
                    (self._scope, *paths),
                )
            }
        return [found.get(path) for path in paths]

    def verified(self, entry: Entry) -> None:
        """The file was read and is as published: its new version spares the next run the reading."""
        if entry.version is not None:
            self._verified.append((entry.version, self._scope, encoded_path(entry.path)))

    def hidden(self, path: str) -> None:
        """Note that a path, and what lies below it, may exist although this run cannot see it."""
        self._hidden.add(path)

    def record(self, files: Sequence[tuple[FileFacts, str | None]]) -> None:
        """These files are acknowledged with these checksums."""
        rows = [
            (self._scope, encoded_path(facts.path), checksum, facts.entry.version)
            for facts, checksum in files
        ]
        with explaining(self._path, SCHEMA.name), transaction(self._writing):
            insert(self._writing, "INSERT OR REPLACE INTO published VALUES", rows)

    def missing(self) -> Sequence[str]:
        """Recorded paths that this run did not meet and could have met, in path order."""
        self._keep_verified()
        with explaining(self._path, SCHEMA.name):
            rows = self._reading.execute(
                "SELECT path FROM published"
                " WHERE scope = ? AND path NOT IN (SELECT path FROM met) ORDER BY path",
                (self._scope,),
            )
            missing = [decoded_path(path) for (path,) in rows]
        return [path for path in missing if not is_hidden(path, self._hidden)]

    def forget(self, paths: Sequence[str]) -> None:
        """These deletions are acknowledged."""
        rows = [(self._scope, encoded_path(path)) for path in paths]
        with explaining(self._path, SCHEMA.name), transaction(self._writing):
            self._writing.executemany("DELETE FROM published WHERE scope = ? AND path = ?", rows)

    def newest(self) -> datetime | None:
        """The time of the newest event that was acknowledged."""
        with explaining(self._path, SCHEMA.name):
            row = self._writing.execute("SELECT at FROM newest WHERE scope = ?", (self._scope,)).fetchone()
        return datetime.fromisoformat(row[0]) if row else None

    def acknowledged(self, at: datetime) -> None:
        """An event of this time, the newest of this run, is acknowledged."""
        with explaining(self._path, SCHEMA.name), transaction(self._writing):
            self._writing.execute(
                "INSERT OR REPLACE INTO newest VALUES (?, ?)", (self._scope, at.isoformat())
            )

    def close(self) -> None:
        self._reading.close()
        self._writing.close()

    def _keep_verified(self) -> None:
        if self._verified:
            update = "UPDATE published SET version = ? WHERE scope = ? AND path = ?"
            with explaining(self._path, SCHEMA.name), transaction(self._reading):
                self._reading.executemany(update, self._verified)
            self._verified.clear()
