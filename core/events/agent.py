"""What an agent says of itself every few seconds."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from pydantic import Field

from core.events.common import Wire

AGENT_STATUS_VERSION: Final = "1.0.0"


class CacheFigures(Wire):
    """A cache of an agent; sizes are bytes, `hits` and `misses` count since the agent started.

    `evictions`, `corruptions` and `causes` (of misses) count since the cache's directory was made, which
    agents may share. What is None was not told.
    """

    hits: int = 0
    misses: int = 0
    bytes: int = 0
    max_bytes: int = 0
    entries: int | None = None
    evictions: int | None = None
    corruptions: int | None = None
    causes: dict[str, int] | None = None


class HeldPartition(Wire):
    """A partition that the agent has."""

    topic: str
    partition: int


class RecentError(Wire):
    """An error of the last minutes, scrubbed and on one line."""

    at: datetime
    message: str


class AgentStatus(Wire):
    """An agent's status, keyed by `id` on the compacted status topic; a tombstone says it ended in order.

    `interval_s` is how often it speaks. Counters run since `started_at`; rates cover the last minute.
    `progressed_s` is the age of the last sign of life of its loop, `blocked` what keeps it from
    committing. `circuits` maps a backend to `closed`, `open` or `half-open`.
    """

    schema_version: Literal["1.0.0"] = AGENT_STATUS_VERSION
    id: str
    version: str
    host: str
    pid: int
    started_at: datetime
    at: datetime
    interval_s: float
    group: str
    partitions: tuple[HeldPartition, ...] = ()
    in_flight_events: int = 0
    in_flight_bytes: int = 0
    events: int = 0
    files_processed: int = 0
    files_failed: int = 0
    dead_lettered: int = 0
    files_per_s: float = 0.0
    bytes_per_s: float = 0.0
    progressed_s: float = 0.0
    blocked: str | None = None
    caches: dict[str, CacheFigures] = Field(default_factory=dict)
    circuits: dict[str, str] = Field(default_factory=dict)
    last_errors: tuple[RecentError, ...] = ()
