"""What became of a repository's files, planned or published."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from core.batches import Batch
from core.errors import BackendUnavailable
from core.events.common import ContentStrategy
from core.repository.facts import Skip


@dataclass(slots=True)
class StrategyTotals:
    """Files published one way, their raw bytes, and those of their part of the messages."""

    files: int = 0
    bytes: int = 0
    encoded_bytes: int = 0


@dataclass(slots=True)
class IngestSummary:
    """What became of a repository's files; `to_json` is the published shape of `ingest --json`.

    `files_stale` counts records that stay although their files were not published. `refusal` is why the
    log took no more; `unreachable` the backend for want of which files were skipped.
    """

    project_name: str
    files_discovered: int = 0
    files_published: int = 0
    files_unchanged: int = 0
    files_deleted: int = 0
    files_unpublished: int = 0
    files_stale: int = 0
    skipped: list[Skip] = field(default_factory=list)
    by_strategy: dict[ContentStrategy, StrategyTotals] = field(default_factory=dict)
    fallbacks: Counter[str] = field(default_factory=Counter)
    batches: int = 0
    bytes: int = 0
    largest_message_bytes: int = 0
    duration_s: float = 0.0
    interrupted: bool = False
    refusal: str | None = None
    unreachable: BackendUnavailable | None = None

    @property
    def faults(self) -> list[Skip]:
        """Skips that the user has to know of."""
        return [skip for skip in self.skipped if skip.reason.is_fault]

    def add_batch(self, batch: Batch, message_bytes: int) -> None:
        """Count a batch as published; `message_bytes` is its encoded size."""
        self.batches += 1
        self.files_published += len(batch.files)
        self.bytes += batch.raw_bytes
        self.largest_message_bytes = max(self.largest_message_bytes, message_bytes)
        for file in batch.files:
            totals = self.by_strategy.setdefault(file.strategy, StrategyTotals())
            totals.files += 1
            totals.bytes += file.facts.size
            totals.encoded_bytes += file.encoded_size

    def to_json(self) -> dict[str, Any]:
        """The published shape, with `files_unpublished`, `fallbacks` and `interrupted` beside it."""
        return {
            "project_name": self.project_name,
            "files_discovered": self.files_discovered,
            "files_published": self.files_published,
            "files_unchanged": self.files_unchanged,
            "files_deleted": self.files_deleted,
            "files_skipped": len(self.skipped),
            "files_unpublished": self.files_unpublished,
            "files_stale": self.files_stale,
            "skipped": [
                {"path": skip.path, "reason": skip.reason, "detail": skip.detail or skip.reason.sentence}
                for skip in self.skipped
            ],
            "by_strategy": {
                name: {"files": totals.files, "bytes": totals.bytes}
                for name, totals in self.by_strategy.items()
            },
            "fallbacks": dict(self.fallbacks),
            "batches": self.batches,
            "bytes": self.bytes,
            "largest_message_bytes": self.largest_message_bytes,
            "duration_ms": round(self.duration_s * 1000),
            "interrupted": self.interrupted,
        }
