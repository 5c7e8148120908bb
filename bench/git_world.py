"""Repositories for the Git benchmark, served by git's own HTTP backend on loopback."""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import corpus
from bench.measure import Run, child
from tests.bare_repositories import ENVIRONMENT, BareRepository
from tests.servers.git_http import GitHttpServer

CHANGED = 40


@dataclass
class World:
    """A repository with one commit, on a server."""

    directory: Path
    server: GitHttpServer
    name: str
    repository: BareRepository
    commit: str
    blobs: dict[str, str]

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def fresh(self) -> Path:
        """An empty directory."""
        return Path(tempfile.mkdtemp(dir=self.directory))

    def some(self, count: int) -> Path:
        """A list of `count` paths with their blob ids, spread over the repository."""
        path = self.directory / f"wanted-{count}.json"
        every = sorted(self.blobs.items())
        path.write_text(json.dumps(random.Random(count).sample(every, count)))
        return path

    def pack(self, blobs: Sequence[str]) -> bytes:
        """A pack of these blobs, as git makes it for a fetch."""
        done = subprocess.run(
            ["git", "pack-objects", "-q", "--stdout", "--delta-base-offset"],
            cwd=self.repository.path, env=ENVIRONMENT,
            input="\n".join(blobs).encode(), capture_output=True, check=True,
        )  # fmt: skip
        return done.stdout

    def packed(self, blobs: Sequence[str]) -> int:
        """Bytes of that pack."""
        return len(self.pack(blobs))

    def change(self) -> tuple[str, dict[str, str]]:
        """One more commit, which touches `CHANGED` files; its id, and the new blobs by path."""
        paths = random.Random(3).sample(sorted(self.blobs), CHANGED)
        contents = ((path, self.repository.content(path) + b"\n// changed\n") for path in paths)
        commit = self.repository.commit(dict(contents))
        return commit, {path: self.repository.blob(path, commit) for path in paths}


def make(directory: Path, server: GitHttpServer, name: str, files: int) -> World:
    """A corpus as a bare repository, packed as hosts pack."""
    repository = BareRepository(server.root / name)
    commit = repository.commit(corpus.generate(files, seed=7))
    repository.git("repack", "-q", "-a", "-d", "-f")
    repository.git("prune-packed", "-q")
    return World(directory, server, name, repository, commit, repository.blobs(commit))


def task(name: str, *arguments: object) -> Run:
    """A task of `bench.git_tasks` in a process of its own."""
    return child("bench.git_tasks", name, *map(str, arguments))
