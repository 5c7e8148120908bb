"""What is watched, what a look at it came to, and what is to be done: no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from core.errors import ArchonError
from core.safety.redact import redact
from core.summary import IngestSummary


@dataclass(frozen=True, slots=True)
class Watched:
    """A branch (None: the host's default one) that is ingested as `project`. `url` is canonical."""

    url: str
    project: str
    branch: str | None = None
    credential_ref: str | None = None
    interval_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Ingested:
    """The commit of a branch that the log has acknowledged whole; `at` is Unix time."""

    url: str
    branch: str | None
    commit: str
    at: float


class Work(StrEnum):
    """What a look at a branch asks for.

    `FULL` lists everything because nothing is known of this branch yet. Either way only what differs
    from what the log has acknowledged of the project is published.
    """

    NONE = "none"
    DELTA = "delta"
    FULL = "full"


def work_for(watched: Watched, ingested: Ingested | None, tip: str) -> Work:
    """What is to be done when the branch is at the commit `tip`."""
    if ingested is None or (ingested.url, ingested.branch) != (watched.url, watched.branch):
        return Work.FULL
    return Work.NONE if ingested.commit == tip else Work.DELTA


class Outcome(StrEnum):
    """How a round ended."""

    UNCHANGED = "unchanged"
    INGESTED = "ingested"
    FAILED = "failed"
    BUSY = "busy"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Round:
    """One look at one repository and what followed; `to_json` is the published shape of a line of `--json`.

    `previous` is the commit ingested before. `note` says what is out of the ordinary without being an
    error. `next_s` is the time to the next look, None where there is none.
    """

    watched: Watched
    outcome: Outcome
    started_at: float
    duration_s: float
    work: Work = Work.NONE
    commit: str | None = None
    previous: str | None = None
    note: str | None = None
    error: ArchonError | None = None
    summary: IngestSummary | None = None
    next_s: float | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the branch is known to be ingested."""
        return self.outcome in {Outcome.UNCHANGED, Outcome.INGESTED}

    def to_json(self) -> dict[str, Any]:
        """The published shape; `ingestion` is that of `ingest --json`."""
        error = self.error
        return {
            "at": datetime.fromtimestamp(self.started_at, UTC).isoformat(timespec="milliseconds"),
            "project": self.watched.project,
            "git_url": self.watched.url,
            "branch": self.watched.branch,
            "outcome": self.outcome,
            "work": self.work,
            "commit": self.commit,
            "previous_commit": self.previous,
            "note": self.note,
            "reason": error.reason if error else None,
            "error": redact(str(error)) if error else None,
            "hint": error.hint if error else None,
            "ingestion": self.summary.to_json() if self.summary else None,
            "duration_ms": round(self.duration_s * 1000),
            "next_s": None if self.next_s is None else round(self.next_s, 1),
        }
