"""What of each project the log has acknowledged, so that the next ingestion publishes only what changed.

One SQLite file; rows belong to a scope, which is the log and the project. A path leaves a row only after
the log acknowledged it, so a run that is killed at any point is merely repeated in part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from core.database import Schema, connect, decoded_path, encoded_path, explaining, insert, transaction
from core.project import ProjectSource
from core.repository.facts import Entry, FileFacts, Skip

Item = TypeVar("Item")

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
        (
            # `allowed` is set where somebody allowed the next run to delete whatever is gone.
            """CREATE TABLE projects (
                 scope TEXT PRIMARY KEY, source TEXT, directory TEXT, allowed INTEGER NOT NULL DEFAULT 0
               ) WITHOUT ROWID""",
        ),
    ),
)


def is_hidden(path: str, hidden: Collection[str]) -> bool:
    """Whether `path` or a directory above it is among `hidden`; `.` is above all."""
    parents = (path[:at] for at, char in enumerate(path) if char == "/")
    return bool(hidden) and (path in hidden or "." in hidden or any(parent in hidden for parent in parents))


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of at most `size` items, in order."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def ingested_directories(path: Path) -> Sequence[Path]:
    """The directories that feed the projects of the manifest at `path`, which need not exist."""
    if not path.exists():
        return ()
    with closing(connect(path, SCHEMA)) as connection, explaining(path, SCHEMA.name):
        rows = connection.execute("SELECT DISTINCT directory FROM projects WHERE directory IS NOT NULL")
        return [Path(directory) for (directory,) in rows]


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

    def recorded(self, paths: Iterable[str]) -> Sequence[str]:
        """Those of `paths` that are published."""
        found: list[str] = []
        with explaining(self._path, SCHEMA.name):
            for some in batched(paths, 500):
                rows = self._reading.execute(
                    "SELECT path FROM published"  # noqa: S608 - question marks only
                    f" WHERE scope = ? AND path IN ({', '.join('?' * len(some))}) ORDER BY path",
                    (self._scope, *map(encoded_path, some)),
                )
                found.extend(decoded_path(path) for (path,) in rows)
        return found

    def forget(self, paths: Sequence[str]) -> None:
        """These deletions are acknowledged."""
        rows = [(self._scope, encoded_path(path)) for path in paths]
        with explaining(self._path, SCHEMA.name), transaction(self._writing):
            self._writing.executemany("DELETE FROM published WHERE scope = ? AND path = ?", rows)

    def count(self) -> int:
        """How many paths are published."""
        with explaining(self._path, SCHEMA.name):
            row = self._reading.execute("SELECT count(*) FROM published WHERE scope = ?", (self._scope,))
            count: int = row.fetchone()[0]
        return count

    def count_missing(self, entries: Iterable[Entry | Skip]) -> int:
        """How many published paths are not among the entries of a listing, which is read to its end."""
        hidden: set[str] = set()
        with explaining(self._path, SCHEMA.name), transaction(self._reading, "DEFERRED"):
            for batch in batched(entries, 1000):
                hidden |= {item.path for item in batch if isinstance(item, Skip) and item.reason.hides}
                paths = [(encoded_path(item.path),) for item in batch if isinstance(item, Entry)]
                insert(self._reading, "INSERT OR IGNORE INTO met VALUES", paths)
        return sum(not is_hidden(path, hidden) for path in self.missing())

    def source(self) -> ProjectSource | None:
        """The source that feeds the project; None for one that was never bound."""
        with explaining(self._path, SCHEMA.name):
            row = self._reading.execute(
                "SELECT source, directory FROM projects WHERE scope = ? AND source IS NOT NULL",
                (self._scope,),
            ).fetchone()
        return ProjectSource(*row) if row else None

    def bind(self, source: ProjectSource) -> None:
        """The project is fed from `source` from now on."""
        with explaining(self._path, SCHEMA.name), transaction(self._writing):
            self._writing.execute(
                """INSERT INTO projects (scope, source, directory) VALUES (?, ?, ?)
                   ON CONFLICT DO UPDATE SET source = excluded.source, directory = excluded.directory""",
                (self._scope, source.identity, source.directory),
            )

    def allow_deletions(self, allowed: bool) -> None:
        """Whether the next run may delete whatever is gone."""
        with explaining(self._path, SCHEMA.name), transaction(self._writing):
            self._writing.execute(
                """INSERT INTO projects (scope, allowed) VALUES (?, ?)
                   ON CONFLICT DO UPDATE SET allowed = excluded.allowed""",
                (self._scope, allowed),
            )

    def allows_deletions(self) -> bool:
        """Whether somebody allowed the next run to delete whatever is gone."""
        with explaining(self._path, SCHEMA.name):
            row = self._reading.execute(
                "SELECT allowed FROM projects WHERE scope = ?", (self._scope,)
            ).fetchone()
        return bool(row and row[0])

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
