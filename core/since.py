"""A manifest that compares with a commit instead of with what was published: `ingest --since REF`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from core.manifest import Published, SqliteManifest, is_hidden
from core.repository.facts import Entry, FileFacts


class SinceManifest:
    """Files whose blob is that of `base` (blob ids by path) are unchanged, paths of `base` alone deleted.

    What the log acknowledges is recorded in `inner`, so that an ordinary ingestion goes on from there.
    """

    def __init__(self, inner: SqliteManifest, base: Mapping[str, str]) -> None:
        self._inner = inner
        self._base = base
        self._met: set[str] = set()
        self._hidden: set[str] = set()

    def published(self, entries: Sequence[Entry]) -> Sequence[Published | None]:
        """What the base has of each entry's path."""
        self._inner.published(entries)
        self._met.update(entry.path for entry in entries)
        blobs = [self._base.get(entry.path) for entry in entries]
        return [Published(None, f"blob:{blob}") if blob else None for blob in blobs]

    def hidden(self, path: str) -> None:
        """As `SqliteManifest.hidden`."""
        self._inner.hidden(path)
        self._hidden.add(path)

    def verified(self, entry: Entry) -> None:
        """As `SqliteManifest.verified`."""
        self._inner.verified(entry)

    def record(self, files: Sequence[tuple[FileFacts, str | None]]) -> None:
        """As `SqliteManifest.record`."""
        self._inner.record(files)

    def missing(self) -> Sequence[str]:
        """Paths of the base that are not here any more, in path order."""
        return sorted(path for path in self._base.keys() - self._met if not is_hidden(path, self._hidden))

    def recorded(self, paths: Iterable[str]) -> Sequence[str]:
        """Those of `paths` that the base has, or that are published."""
        paths = list(paths)
        return sorted({*self._inner.recorded(paths), *(path for path in paths if path in self._base)})

    def count(self) -> int:
        """As `SqliteManifest.count`."""
        return self._inner.count()

    def newest(self) -> datetime | None:
        """As `SqliteManifest.newest`."""
        return self._inner.newest()

    def acknowledged(self, at: datetime) -> None:
        """As `SqliteManifest.acknowledged`."""
        self._inner.acknowledged(at)

    def forget(self, paths: Sequence[str]) -> None:
        """As `SqliteManifest.forget`."""
        self._inner.forget(paths)
