"""The port of a strategy: say whether it can carry a file, and pack it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

from core.events.common import ContentStrategy
from core.repository.facts import FileFacts, GitState, Repository

NO_STORAGE = f"{ContentStrategy.OBJECT_STORAGE}: there is none, see storage.provider"


@dataclass(frozen=True, slots=True)
class Feasibility:
    """Whether a strategy can carry a file, and the reason in words either way.

    `temporary`: the file as it is may be feasible later, once it is committed and pushed.
    """

    feasible: bool
    why: str
    temporary: bool = False


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


def refusals(verdicts: Mapping[ContentStrategy, Feasibility]) -> str:
    """Why no strategy carries a file; where there is no object storage, the setting that brings it."""
    found = [f"{name}: {verdict.why}" for name, verdict in verdicts.items()]
    if ContentStrategy.OBJECT_STORAGE not in verdicts:
        found.append(NO_STORAGE)
    return "; ".join(found)


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


@runtime_checkable
class PureStrategy(Strategy, Protocol):
    """A strategy that needs nothing but the content: a plan packs by it to know the exact size."""

    def pack_now(self, file: SourceFile) -> dict[str, Any]:
        """What `pack` returns, at once."""
        ...


def wire_file(facts: FileFacts, strategy: ContentStrategy, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a packed file's `FileV2`. `fields` are what `Strategy.pack` returned; they may hold a
    checksum that only packing learned.
    """
    entry = facts.entry
    return {
        "relative_path": entry.path,
        "language": facts.language,
        "size_bytes": entry.known_size,
        "last_modified": _moment(entry.mtime_ns),
        "checksum": facts.checksum,
        "content_strategy": strategy,
        "git_blob": entry.blob,
        **fields,
    }


def _moment(ns: int | None) -> datetime | None:
    """A time in ns since the epoch; None for one that no calendar has (a commit may say any)."""
    try:
        return None if ns is None else datetime.fromtimestamp(ns / 1e9, UTC)
    except (ValueError, OverflowError, OSError):
        return None
