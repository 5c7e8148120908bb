"""The folders of a plan, two levels deep, with how many files are in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from archon_tui.filters import Fields

LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder by its path with a trailing slash; the empty path is the whole repository."""

    path: str
    files: int
    depth: int

    @property
    def label(self) -> str:
        name = self.path.rstrip("/").rpartition("/")[2] + "/" if self.path else "everything"
        return "  " * max(0, self.depth - 1) + name


class Folders:
    """Counts paths as they come."""

    fields: Fields[Folder] = Fields(text=lambda folder: folder.path)

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._total = 0

    def clear(self) -> None:
        self._counts.clear()
        self._total = 0

    def add(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._total += 1
            first = path.find("/")
            if first < 0:
                continue
            self._counts[path[: first + 1]] += 1
            second = path.find("/", first + 1)
            if second > 0:
                self._counts[path[: second + 1]] += 1

    def rows(self) -> list[Folder]:
        """Everything, then folders by path; at most `LIMIT`."""
        folders = [Folder(path, count, path.count("/")) for path, count in sorted(self._counts.items())]
        return [Folder("", self._total, 0), *folders[:LIMIT]]
