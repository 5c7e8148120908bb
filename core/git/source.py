"""What is asked of Git hosts, and the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.errors import ArchonError
from core.events.v2 import GitCredentials
from core.safety.redact import redact


@dataclass(frozen=True, slots=True)
class GitSource:
    """A commit of a repository. `branch` helps only with hosts that give no commit by its id."""

    url: str
    commit: str
    branch: str | None = None
    credentials: GitCredentials | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file of a commit; with its blob id no trees are needed."""

    path: str
    blob: str | None = None


@dataclass(frozen=True, slots=True)
class GitContent:
    """A file's bytes. `blob` is the id they were verified against, of the pointer for LFS content.

    `wire_bytes` is its share of what came over the network, `attempts` counts exchanges with the host.
    `let_go` is set where more was asked for than may be held: `content` is empty then.
    """

    content: bytes
    blob: str
    cache_hit: bool
    wire_bytes: int = 0
    attempts: int = 1
    let_go: LetGo | None = None


@dataclass(frozen=True, slots=True)
class LetGo:
    """What is known of bytes that were read and not kept: their number, and `sha256:<hex>`."""

    size: int
    checksum: str


@dataclass(frozen=True, slots=True)
class RepositoryToWarm:
    """A repository whose files are to be fetched ahead; `ref` None is the host's default branch."""

    url: str
    ref: str | None = None
    credentials: GitCredentials | None = None


@dataclass(frozen=True, slots=True)
class WarmLimits:
    """`at_once` repositories; `max_bytes` received of each, `deadline_s` for all; None is no limit."""

    at_once: int = 3
    max_bytes: int | None = None
    deadline_s: float | None = None


WarmTell = Callable[[RepositoryToWarm, int, int, int], None]
"""Told a repository, how many of its files are here, of how many, and the bytes received so far."""


@dataclass(frozen=True, slots=True)
class WarmedRepository:
    """What warming brought. Of `files` of `commit`, `fetched` came now, `missing` are still not here.

    `bytes` crossed the network. `error` is what ended it, or the first file's; None where all files are here.
    """

    url: str
    ref: str | None
    commit: str | None
    files: int = 0
    fetched: int = 0
    missing: int = 0
    bytes: int = 0
    seconds: float = 0.0
    error: ArchonError | None = None

    def to_json(self) -> dict[str, Any]:
        """The published shape, of `cache warm --json` and of `POST /api/cache/warm`."""
        error = self.error
        return {
            "git_url": redact(self.url),
            "git_ref": self.ref,
            "commit": self.commit,
            "files": self.files,
            "fetched": self.fetched,
            "missing": self.missing,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "reason": error.reason if error else None,
            "message": redact(str(error)) if error else None,
            "hint": error.hint if error else None,
        }
