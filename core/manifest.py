"""What of each project the log has acknowledged, so that the next ingestion publishes only what changed.

One SQLite file; rows belong to a scope, which is the log and the project. A path leaves a row only after
the log acknowledged it, so a run that is killed at any point is merely repeated in part.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from core.database import Schema, connect, decoded_path, encoded_path, explaining, transaction
from core.repository.facts import Entry, FileFacts

SCHEMA = Schema(
    name="manifest",
    application_id=0x61726D66,
    migrations=(
        (
            """CREATE TABLE published (
                 scope TEXT NOT NULL, path BLOB NOT NULL, checksum TEXT, blob TEXT,
                 size INTEGER NOT NULL, mtime_ns INTEGER, recorded_ns INTEGER NOT NULL,
                 PRIMARY KEY (scope, path)) WITHOUT ROWID""",
        ),
    ),
)
# A file changed within this time of its recording may look unchanged by its time (Git's "racily clean").
RACY_NS = 2_000_000_000


class SqliteManifest:
    """The manifest of one scope during one run. Blocking calls of microseconds each; not thread-safe
    beyond one call at a time per connection, so reading and recording have a connection each.
    """

    def __init__(self, path: Path, scope: str, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        """Raises what `core.database.connect` raises."""
        self._path = path
        self._scope = scope
        self._now_ns = now_ns
        self._reading = connect(path, SCHEMA)
        self._writing = connect(path, SCHEMA)
        # Acknowledgement is durable in the log; losing the newest rows to a power cut republishes them.
        self._writing.execute("PRAGMA synchronous = NORMAL")
        # Paths met in this run, in a temporary file, so that memory does not grow with the repository.
        self._reading.execute("PRAGMA temp_store = FILE")
        self._reading.execute("CREATE TEMP TABLE met (path BLOB PRIMARY KEY) WITHOUT ROWID")

    def unchanged(self, entries: Sequence[Entry]) -> Sequence[bool]:
        """Per entry whether it is proven unchanged without reading; also notes that its path exists."""
        with explaining(self._path, SCHEMA.name), transaction(self._reading, "DEFERRED"):
            return [self._is_unchanged(entry) for entry in entries]

    def same_content(self, entry: Entry, checksum: str) -> bool:
        """Whether `checksum` was published for the entry's path."""
        row = self._find(entry)
        return row is not None and row[0] == checksum

    def met(self, path: str) -> None:
        """Note that a path which is not published still exists."""
        self._reading.execute("INSERT OR IGNORE INTO met VALUES (?)", (encoded_path(path),))

    def record(self, files: Sequence[tuple[FileFacts, str | None]]) -> None:
        """These files are acknowledged with these checksums."""
        now = self._now_ns()
        rows = [
            (
                self._scope,
                encoded_path(facts.path),
                checksum,
                facts.entry.blob,
                facts.size,
                facts.entry.mtime_ns,
                now,
            )
            for facts, checksum in files
        ]
        with explaining(self._path, SCHEMA.name), transaction(self._writing):
            self._writing.executemany("INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def missing(self) -> Sequence[str]:
        """Recorded paths that this run did not meet, in path order."""
        with explaining(self._path, SCHEMA.name):
            rows = self._reading.execute(
                "SELECT path FROM published"
                " WHERE scope = ? AND path NOT IN (SELECT path FROM met) ORDER BY path",
                (self._scope,),
            )
            return [decoded_path(path) for (path,) in rows]

    def forget(self, paths: Sequence[str]) -> None:
        """These deletions are acknowledged."""
        rows = [(self._scope, encoded_path(path)) for path in paths]
        with explaining(self._path, SCHEMA.name), transaction(self._writing):
            self._writing.executemany("DELETE FROM published WHERE scope = ? AND path = ?", rows)

    def close(self) -> None:
        self._reading.close()
        self._writing.close()

    def _is_unchanged(self, entry: Entry) -> bool:
        row = self._find(entry)
        self.met(entry.path)
        if row is None:
            return False
        _, blob, size, mtime_ns, recorded_ns = row
        if size != entry.size:
            return False
        if blob is not None and entry.blob is not None:
            return bool(blob == entry.blob)
        return mtime_ns is not None and mtime_ns == entry.mtime_ns and mtime_ns + RACY_NS < recorded_ns

    def _find(self, entry: Entry) -> sqlite3.Row | None:
        found: sqlite3.Row | None = self._reading.execute(
            "SELECT checksum, blob, size, mtime_ns, recorded_ns FROM published WHERE scope = ? AND path = ?",
            (self._scope, encoded_path(entry.path)),
        ).fetchone()
        return found
