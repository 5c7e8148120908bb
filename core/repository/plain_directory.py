"""A directory outside Git: what its `.gitignore` files and the default exclusions leave."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from core.repository.facts import Entry, GitState, Skip
from core.repository.ignore import DEFAULT_EXCLUSIONS, IgnoreRules
from core.repository.listing import Clock, Lister
from core.repository.reader import FileReader
from core.repository.tree_walk import TreeWalk, WalkRules


class PlainDirectory:
    """A `Repository` without version control; `path` is absolute."""

    def __init__(self, path: Path, *, clock: Clock = time.time_ns) -> None:
        self.name = path.name or "root"
        self._path = path
        self._clock = clock
        self._reader = FileReader(path)

    def git_state(self) -> GitState | None:
        """None: there is no Git here."""
        return None

    def is_dirty(self) -> bool | None:
        """None: there is nothing to differ from."""
        return None

    def entries(self) -> Iterator[Entry | Skip]:
        """As `Repository.entries`."""
        rules = WalkRules(enter_repositories=True, by_content=True)
        ignore = IgnoreRules().with_file("", DEFAULT_EXCLUSIONS.encode())
        with (
            closing(TreeWalk(self._path, rules)) as walk,
            closing(Lister(self._path, clock=self._clock)) as lister,
        ):
            for found in walk.walk(ignore):
                if found.skip is not None:
                    yield found.skip
                    continue
                status = lister.look(found.path)
                yield status if isinstance(status, Skip) else lister.entry(found.path, status)

    def read(self, entry: Entry, limit: int) -> bytes | Skip:
        """As `Repository.read`."""
        return self._reader.read(entry, limit)

    def open(self, entry: Entry) -> BinaryIO | Skip:
        """As `Repository.open`."""
        return self._reader.open(entry)

    def close(self) -> None:
        """Give the descriptors back; idempotent."""
        self._reader.close()
