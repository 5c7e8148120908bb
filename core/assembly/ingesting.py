"""One ingestion from its beginning to its end: published, and recorded in a journal."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.journal import Header, Recorder, outcome, recording
from core.progress import Listener, ignore, tell_all
from core.repository.facts import GitState
from core.safety.redact import redact
from core.settings import Settings
from core.summary import IngestSummary
from core.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from core.git.fetcher import GitContentFetcher


async def ingest(
    settings: Settings,
    target: Target,
    stop: asyncio.Event,
    *,
    listener: Listener = ignore,
    git: GitContentFetcher | None = None,
    metrics: Metrics | None = None,
) -> tuple[IngestSummary, GitState | None]:
    """Publish `target`; what became of it, and the commit that it was. `git` and `metrics` as `ingestion`.

    Raises what `ingestion` raises.
    """
    with _journal(settings, target) as recorder:
        listeners = [listener, recorder] if recorder else [listener]
        opened = ingestion(settings, target, listener=tell_all(*listeners), git=git, metrics=metrics)
        async with opened as job:
            if target.since is None:
                await job.guard.check(job.context.repository)
            await job.guard.passed()
            summary = await job.publisher.publish(job.planner.stream(), stop=stop)
            state = job.context.git
        if recorder:
            recorder.end(_outcome(summary))
    return summary, state


def _journal(settings: Settings, target: Target) -> AbstractContextManager[Recorder | None]:
    """The record of this run: the dashboard lists it, and `archon-tui --replay` plays it."""
    where = str(target.path.resolve()) if isinstance(target.path, Path) else redact(target.path.url)
    name = target.project_name or where.rstrip("/").rpartition("/")[2]
    log = "kafka" if settings.kafka.servers else "embedded"
    return recording(settings.journal_dir, Header(name, where, log, datetime.now(UTC), consumes=False))


def _outcome(summary: IngestSummary) -> dict[str, Any]:
    state = "cancelled" if summary.interrupted else "failed" if summary.refusal else "done"
    error = redact(summary.refusal) if summary.refusal else None
    return outcome(state, summary.project_name, summary.duration_s, error=error, published=summary)
