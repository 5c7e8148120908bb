"""The only place that builds adapters from Settings."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

from core import __version__
from core.consumer import Consumer, Limits
from core.dead_letters import DeadLetters
from core.errors import ConfigurationError, UsageError
from core.events.common import ContentStrategy, Source
from core.fetchers.base import Fetcher
from core.fetchers.inline import InlineFetcher
from core.fetchers.local_path import LocalPathFetcher
from core.fetchers.resolver import Resolver
from core.intelligence.generator import BridgeIntelligenceGenerator
from core.log.base import EventLog
from core.log.embedded import EmbeddedLog
from core.manifest import SqliteManifest
from core.planner import Planner, PlanRules
from core.processor import RequestProcessor
from core.progress import Listener, ignore
from core.publisher import MESSAGE_OVERHEAD, Publisher, PublishRules
from core.repository.discover import open_repository
from core.results.index import ResultsIndex
from core.settings import Settings
from core.strategies.base import PublishContext, Strategy
from core.strategies.inline import InlineStrategy
from core.strategies.selector import RuleSelector

# The largest event's JSON around its files: names, URLs and credentials references have bounds.
ENVELOPE_BYTES = 16 << 10
PROJECT_NAME_LIMIT = 100


def event_source(service: str = "archon-agent") -> Source:
    """Who this process says it is on the wire."""
    hostname = socket.gethostname()
    return Source(service=service, instance_id=f"{hostname}-{os.getpid()}", hostname=hostname)


def open_log(settings: Settings) -> EventLog:
    """The event log of these settings, to be entered as a context manager."""
    return EmbeddedLog(settings.data_dir / "log.sqlite", partitions=settings.log.partitions)


def open_index(settings: Settings) -> ResultsIndex:
    """The local results index, to be entered as a context manager."""
    return ResultsIndex(settings.data_dir / "results.sqlite")


@dataclass(frozen=True, slots=True)
class Target:
    """What to ingest: a directory, or a commit of a local repository."""

    path: Path
    ref: str | None = None
    project_name: str | None = None
    force_reindex: bool = False
    overrides: Mapping[str, ContentStrategy] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ingestion:
    """A repository opened for publishing: its planner and, unless only planning, its publisher."""

    project_name: str
    planner: Planner
    publisher: Publisher | None
    max_message_bytes: int


@asynccontextmanager
async def ingestion(
    settings: Settings, target: Target, *, plan_only: bool = False, listener: Listener = ignore
) -> AsyncIterator[Ingestion]:
    """Open everything that publishing `target` needs; with `plan_only` nothing that is written to."""
    async with AsyncExitStack() as stack:
        repository = stack.enter_context(
            closing(
                open_repository(
                    target.path, ref=target.ref, include_untracked=settings.publish.include_untracked
                )
            )
        )
        project = project_name(target.project_name or repository.name)
        log = await stack.enter_async_context(open_log(settings))
        limit = min(settings.publish.max_batch_bytes, await log.max_message_bytes(REQUEST_TOPIC))
        context = PublishContext(
            project_name=project,
            repository=repository,
            git=repository.git_state(),
            max_file_bytes=limit - ENVELOPE_BYTES - MESSAGE_OVERHEAD,
        )
        strategies = publishing_strategies(settings)
        for strategy in strategies:
            stack.push_async_callback(strategy.close)
        manifest = stack.enter_context(closing(SqliteManifest(settings.data_dir / "manifest.sqlite", f"{log.name}|{project}")))
        planner = Planner(
            context,
            strategies,
            RuleSelector(),
            PlanRules(
                whole_limit=settings.publish.inline_size_limit,
                wanted=_wanted(settings, strategies),
                include_tests=settings.publish.include_tests,
                overrides=target.overrides,
                force=target.force_reindex,
            ),
            manifest,
        )
        publisher = Publisher(
            log,
            context,
            strategies,
            PublishRules(
                source=event_source(),
                batch_size=settings.publish.batch_size,
                max_batch_bytes=limit,
                include_tests=settings.publish.include_tests,
                force_reindex=target.force_reindex,
            ),
            manifest,
            listener,
        )
        yield Ingestion(project, planner, None if plan_only else publisher, limit)
