"""Repositories on this machine: finding them, and what a look at one tells."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from archon_tui.chosen import Chosen, chosen, is_url
from core.errors import ArchonError
from core.safety.private import make_private, write_private

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

    chosen: Chosen
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
    def where(self) -> str:
        return self.chosen.where

    @property
    def name(self) -> str:
        return self.chosen.name

    @property
    def is_url(self) -> bool:
        return is_url(self.where)


def discover(roots: Sequence[Path], cancelled: Cancelled, *, depth: int = DEPTH) -> Iterator[Path]:
    """Repositories at and under `roots`, at most `depth` directories down, links not followed.

    A root outside Git counts where none is under it: it was named. Blocking.
    """
    found: set[Path] = set()
    for root in roots:
        top = root.expanduser().absolute()
        before = len(found)
        for path in (top, *_below(top, depth, cancelled)):
            if cancelled() or len(found) >= FOUND_LIMIT:
                return
            if path not in found and is_repository(path):
                found.add(path)
                yield path
        if len(found) == before and top not in found:
            found.add(top)
            yield top


def is_repository(path: Path) -> bool:
    """A work tree or a bare one, by the files Git itself looks for; what cannot be looked into is none."""
    try:
        return (path / ".git").exists() or all((path / name).exists() for name in ("HEAD", "objects", "refs"))
    except OSError:
        return False


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
    """The repositories used last, newest first, in a small file that may be lost without harm.

    An entry is the path or URL, or an object of it and the credential reference that goes with it.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> list[Chosen]:
        try:
            data = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        entries = (_entry(each) for each in data) if isinstance(data, list) else ()
        return [entry for entry in entries if entry]

    def add(self, used: Chosen) -> None:
        """Put `used` first."""
        self._write([used, *(known for known in self.read() if known.where != used.where)][:RECENT_LIMIT])

    def forget(self, where: str) -> None:
        self._write([known for known in self.read() if known.where != where])

    def _write(self, entries: Sequence[Chosen]) -> None:
        data = [
            {"where": each.where, "credential_ref": each.credential_ref}
            if each.credential_ref
            else each.where
            for each in entries
        ]
        try:
            make_private(self._file.parent)
            scratch = self._file.with_suffix(f".{os.getpid()}")
            write_private(scratch, json.dumps(data, indent=1) + "\n")
            scratch.replace(self._file)
        except OSError:
            return  # the list is a convenience; a read-only disk must not end the session


def _entry(data: object) -> Chosen | None:
    where, reference = (
        (data.get("where"), data.get("credential_ref")) if isinstance(data, dict) else (data, None)
    )
    if not isinstance(where, str) or not where or not isinstance(reference, str | None):
        return None
    return chosen(where, reference)
