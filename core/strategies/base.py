"""The port of a strategy: say whether it can carry a file, and pack it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from core.events.common import ContentStrategy
from core.repository.facts import FileFacts, GitState, Repository


@dataclass(frozen=True, slots=True)
class Feasibility:
    """Whether a strategy can carry a file, and the reason in words either way."""

    feasible: bool
    why: str


@dataclass(frozen=True, slots=True)
class PublishContext:
    """What strategies may know of the run; `max_file_bytes` is the room one encoded file has in a message."""

    project_name: str
    repository: Repository
    git: GitState | None
    max_file_bytes: int


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to pack. `content` is whole, or None where it is too large to hold: stream it instead."""

    facts: FileFacts
    content: bytes | None


class Strategy(Protocol):
    """Packs files one way."""

    name: ContentStrategy

    async def prepare(self, context: PublishContext) -> dict[str, Any]:
        """Once per run: check the backend and give the payload fields it needs (`git_url`, …).

        Raises `ConfigurationError` or `BackendUnavailable`.
        """
        ...

    def feasible(self, facts: FileFacts, context: PublishContext) -> Feasibility:
        """Pure and cheap (a few µs): called for every file of a plan."""
        ...

    async def pack(self, file: SourceFile, context: PublishContext) -> dict[str, Any]:
        """The wire fields of this strategy (see `core.events.v2.STRATEGY_FIELDS`).

        Raises an `ArchonError` where this file cannot be carried after all.
        """
        ...

    async def close(self) -> None: ...
