"""Real repositories for tests, made by git in a directory of the test's own."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from core.repository.discover import open_repository
from core.repository.facts import Entry, Repository, Skip, SkipReason

ISOLATED = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_AUTHOR_DATE": "2026-01-05T12:00:00Z",
    "GIT_COMMITTER_DATE": "2026-01-05T12:00:00Z",
}


def later() -> int:
    """A wall clock (ns) so far ahead that no file counts as changed just now."""
    return time.time_ns() + 60_000_000_000


class WorkingRepository:
    """A repository with a work tree at `path`."""

    def __init__(self, path: Path, *init: str) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main", *init)

    def git(self, *arguments: str | bytes) -> str:
        """Run git here; its output."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            env={**os.environ, **ISOLATED},
            check=True,
            capture_output=True,
        )
        return os.fsdecode(done.stdout).strip()

    def write(self, path: str | bytes, content: bytes = b"x = 1\n") -> None:
        """Write a file, making its directories."""
        target = os.path.join(os.fsencode(self.path), os.fsencode(path))  # noqa: PTH118 # bytes paths
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
        with open(target, "wb") as stream:
            stream.write(content)

    def add(self, **files: bytes) -> None:
        """Add everything, after writing `files` (`a_py=b"…"` is `a.py`)."""
        for name, content in files.items():
            self.write(name.replace("_", "."), content)
        self.git("add", "--all")
        self.settle()

    def commit(self, **files: bytes) -> str:
        """Add and commit everything; the commit's id."""
        self.add(**files)
        self.git("commit", "--quiet", "--allow-empty", "--message", "work")
        self.settle()
        return self.git("rev-parse", "HEAD")

    def settle(self, *, seconds: float = 30) -> None:
        """Move the index's time ahead of its files', as time would."""
        index = self.path / ".git" / "index"
        if index.exists():
            ahead = time.time_ns() + int(seconds * 1e9)
            os.utime(index, ns=(ahead, ahead))


def listing(path: Path, **options: Any) -> list[Entry | Skip]:
    """What a repository lists, in order."""
    repository = open_repository(path, **{"clock": later, **options})
    try:
        return list(repository.entries())
    finally:
        repository.close()


def paths(items: list[Entry | Skip]) -> list[str]:
    """Paths of the entries."""
    return [item.path for item in items if isinstance(item, Entry)]


def skips(items: list[Entry | Skip]) -> dict[str, SkipReason]:
    """Reasons of the skips by path."""
    return {item.path: item.reason for item in items if isinstance(item, Skip)}


def entry_of(repository: Repository, path: str) -> Entry:
    """The entry of one path."""
    for item in repository.entries():
        if item.path == path and isinstance(item, Entry):
            return item
    raise AssertionError(f"{path!r} is not listed")


@pytest.fixture
def isolated_git(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No configuration of the machine or its user reaches git or archon."""
    for name, value in ISOLATED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("xdg")))


@pytest.fixture
def repository(tmp_path: Path, isolated_git: None) -> WorkingRepository:
    """An empty repository."""
    return WorkingRepository(tmp_path / "project")
