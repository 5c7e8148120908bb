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

FILES, CHANGED = 6500, 40
LARGE_FILES, LARGE_FILE_BYTES = 1100, 1 << 20


@dataclass
class World:
    """A repository of `FILES` files with one commit, on a server."""

    directory: Path
    server: GitHttpServer
    repository: BareRepository
    commit: str
    blobs: dict[str, str]

    @property
    def url(self) -> str:
        return self.server.url("corpus.git")

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


def make(directory: Path) -> tuple[BareRepository, str, dict[str, str]]:
    """The corpus as a bare repository, packed as hosts pack: its commit, and blob ids by path."""
    repository = BareRepository(directory / "corpus.git")
    commit = repository.commit(corpus.generate(FILES, seed=7))
    repository.git("repack", "-q", "-a", "-d", "-f")
    repository.git("prune-packed", "-q")
    return repository, commit, repository.blobs(commit)


def make_large(directory: Path) -> str:
    """`LARGE_FILES` files that do not compress, 1 MiB each."""
    repository = BareRepository(directory / "large.git")
    for key, value in (("core.compression", "0"), ("pack.depth", "0"), ("core.bigFileThreshold", "512k")):
        repository.git("config", key, value)
    block = random.Random(5).randbytes(LARGE_FILE_BYTES)
    return repository.commit(
        (f"data/part_{number:04}.bin", number.to_bytes(8, "big") + block[8:]) for number in range(LARGE_FILES)
    )


def task(name: str, *arguments: object) -> Run:
    """A task of `bench.git_tasks` in a process of its own."""
    return child("bench.git_tasks", name, *map(str, arguments))
