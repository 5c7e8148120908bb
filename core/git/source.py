"""What is asked of Git hosts, and the answer."""

from __future__ import annotations

from dataclasses import dataclass

from core.events.v2 import GitCredentials


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
