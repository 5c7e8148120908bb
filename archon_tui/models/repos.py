"""Repositories on this machine: finding them, and what a look at one tells."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import ArchonError

if TYPE_CHECKING:
    from core.journal import Journal

DEPTH = 4
FOUND_LIMIT = 500
RECENT_LIMIT = 50
# Directories that hold other people's code or none; a repository in one is rarely meant.
PASSED_OVER = frozenset({"node_modules", "site-packages", "vendor", "target", "build", "dist", "__pycache__"})

Cancelled = Callable[[], bool]


@dataclass(slots=True)
class Repo:
    """A row of the screen. What is None was not looked at yet or cannot be known."""

    where: str
    name: str
    recent: bool = False
    branch: str | None = None
    commit: str | None = None
    dirty: bool | None = None
    is_git: bool | None = None
    files: int | None = None
    languages: Counter[str] = field(default_factory=Counter)
    last: Journal | None = None
    problem: str | None = None
    looked: bool = False

    @property
    def is_url(self) -> bool:
        return is_url(self.where)


def is_url(where: str) -> bool:
    """Whether `where` names a Git host rather than a directory: a scheme, or the `user@host:path` form."""
    return "://" in where or ("@" in where.partition(":")[0] and ":" in where and not where.startswith("/"))


def name_of(where: str) -> str:
    """The last part of a path or URL, without `.git`."""
    last = where.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return last.removesuffix(".git") or where


def discover(roots: Sequence[Path], cancelled: Cancelled, *, depth: int = DEPTH) -> Iterator[Path]:
    """Repositories at and under `roots`, at most `depth` directories down, links not followed.

    A root counts as one even outside Git: it was named. Blocking.
    """
    found: set[Path] = set()
    for root in roots:
        top = root.expanduser().absolute()
        for path in (top, *_below(top, depth, cancelled)):
            if cancelled() or len(found) >= FOUND_LIMIT:
                return
            if path not in found and (path == top or is_repository(path)):
                found.add(path)
                yield path


def is_repository(path: Path) -> bool:
    """A work tree or a bare repository, by the files Git itself looks for."""
    return (path / ".git").exists() or all((path / name).exists() for name in ("HEAD", "objects", "refs"))


def _below(top: Path, depth: int, cancelled: Cancelled) -> Iterator[Path]:
    """Directories under `top`, breadth first; the inside of a repository is its own matter."""
    level = [top]
    for _ in range(depth):
        deeper: list[Path] = []
        for path in level:
            if cancelled():
                return
            if path != top and is_repository(path):
                continue
            deeper += _directories(path)
        yield from deeper
        level = deeper


def _directories(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            names = [
                entry.name
                for entry in entries
                if not entry.name.startswith(".")
                and entry.name not in PASSED_OVER
                and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []
    return [path / name for name in sorted(names)]


def look(repo: Repo, cancelled: Cancelled) -> None:
    """Fill in what the repository says of itself. Blocking: index and directories are read, no file is."""
    # Not at the top: what reads repositories costs a fifth of a second before the first picture.
    from core.repository.discover import open_repository
    from core.repository.facts import Skip
    from core.repository.languages import language_of

    try:
        repository = open_repository(repo.where)
    except (ArchonError, OSError) as error:
        repo.problem, repo.looked = str(error), True
        return
    try:
        state = repository.git_state()
        repo.is_git = state is not None
        if state:
            repo.branch, repo.commit = state.branch, state.commit
        files, languages = 0, Counter[str]()
        for number, entry in enumerate(repository.entries()):
            if number % 256 == 0 and cancelled():
                return
            if isinstance(entry, Skip):
                continue
            files += 1
            if language := language_of(entry.path, b"", entry.language_override):
                languages[language] += 1
        repo.files, repo.languages = files, languages
        repo.dirty = repository.is_dirty() if state else None
    except (ArchonError, OSError) as error:
        repo.problem = str(error)
    finally:
        repository.close()
        repo.looked = True


class Recent:
    """The repositories used last, newest first, in a small file that may be lost without harm."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> list[str]:
        try:
            data = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return [where for where in data if isinstance(where, str)] if isinstance(data, list) else []

    def add(self, where: str) -> None:
        """Put `where` first."""
        self._write([where, *(known for known in self.read() if known != where)][:RECENT_LIMIT])

    def forget(self, where: str) -> None:
        self._write([known for known in self.read() if known != where])

    def _write(self, wheres: list[str]) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            scratch = self._file.with_suffix(f".{os.getpid()}")
            scratch.write_text(json.dumps(wheres, indent=1) + "\n", encoding="utf-8")
            scratch.replace(self._file)
        except OSError:
            return  # the list is a convenience; a read-only disk must not end the session
