"""Everything that planning and publishing a repository takes."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from core.assembly.guarding import ProjectGuard
from core.assembly.parts import charging, new_breakers, retry_policy
from core.assembly.source import Target, open_source
from core.assembly.stores import event_source, open_cost_history, open_history, open_log, open_storage
from core.deletions import DeletionLimit
from core.errors import ConfigurationError, UsageError
from core.events.common import ContentStrategy
from core.events.topics import REQUESTED_V2
from core.history.costs import CostHistory, recording
from core.history.observing import PublishObserver, backend_label, observing
from core.history.selection import new_selector
from core.log.base import EventLog
from core.manifest import SqliteManifest
from core.planner import Planner, PlanRules
from core.progress import FilesExpected, Listener, ignore, tell_all
from core.project import ProjectSource, checked_name, default_name, directory_name, refuse_other, source_of
from core.publisher import MESSAGE_OVERHEAD, Publisher, PublishRules
from core.repository.facts import Countable
from core.safety.display import display
from core.safety.git_url import authority_of
from core.settings import Settings
from core.since import SinceManifest
from core.strategies.base import PublishContext, Strategy
from core.strategies.inline import InlineStrategy
from core.strategies.object_storage import ObjectStorageStrategy, drain_warning
from core.telemetry.cost_meter import CostMeter
from core.telemetry.export import export
from core.telemetry.metrics import Metrics
from core.telemetry.span_export import exporting_spans
from core.units import size

if TYPE_CHECKING:
    from core.git.fetcher import GitContentFetcher

logger = logging.getLogger(__name__)

# The largest event's JSON around its files: names, URLs and credentials references have bounds.
ENVELOPE_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class Ingestion:
    """A repository opened for publishing."""

    project_name: str
    context: PublishContext
    planner: Planner
    publisher: Publisher
    rules: PublishRules
    costs: CostHistory
    guard: ProjectGuard


@asynccontextmanager
async def ingestion(
    settings: Settings,
    target: Target,
    *,
    show_unchanged: bool = False,
    listener: Listener = ignore,
    git: GitContentFetcher | None = None,
    metrics: Metrics | None = None,
) -> AsyncIterator[Ingestion]:
    """Open everything that planning and publishing `target` needs.

    A process that ingests often hands in its own way to Git hosts, and its own metrics, which it serves;
    otherwise the metrics of this run are exported when it ends.
    Raises `UsageError` for a wrong path or name, `ConfigurationError`, `BackendUnavailable`.
    """
    publish = settings.publish
    async with AsyncExitStack() as stack:
        source = await open_source(settings, target, stack, git)
        repository = source.repository
        if isinstance(repository, Countable):
            listener(FilesExpected(repository.count_files()))
        state = repository.git_state()
        where = target.path if isinstance(target.path, Path) else target.path.url
        fed_from = source_of(where, state)
        log = await stack.enter_async_context(open_log(settings))
        limit = min(publish.max_batch_bytes, await log.max_message_bytes(REQUESTED_V2))
        partitions = await log.partitions(REQUESTED_V2)
        path = settings.data_dir / "manifest.sqlite"

        def open_manifest(name: str) -> SqliteManifest:
            return SqliteManifest(path, f"{log.name} {name}")

        project, manifest = _project(target, fed_from, repository.name, open_manifest)
        stack.enter_context(closing(manifest))
        context = PublishContext(
            project_name=project,
            repository=repository,
            git=state,
            max_file_bytes=limit - ENVELOPE_BYTES - MESSAGE_OVERHEAD,
        )
        await _warn_of_storage(settings, log)
        backends = backend_labels(settings, context)
        selector = new_selector(settings, backends, source.preferred)
        rules = PublishRules(
            source=event_source(),
            batch_size=publish.batch_size,
            max_batch_bytes=limit,
            include_tests=publish.include_tests,
            force_reindex=target.force_reindex,
            selector=selector.name,
            selector_model=selector.model_id,
            partitions=partitions,
        )
        job = str(uuid.uuid4())
        meter = CostMeter("publish", project=project, job=job)
        if metrics is None:
            metrics = Metrics(CollectorRegistry(), per_project=settings.telemetry.per_project)
            stack.push_async_callback(export, metrics, settings.telemetry)
        spans = await stack.enter_async_context(exporting_spans(settings.telemetry, "archon-ingest"))
        listener = tell_all(listener, metrics, meter, spans)
        made = [*publishing_strategies(settings, listener), source.git]
        strategies = [strategy for strategy in made if strategy.name not in target.without]
        for strategy in strategies:
            stack.push_async_callback(strategy.close)
        history = await stack.enter_async_context(open_cost_history(settings))
        await stack.enter_async_context(recording(meter, history, charging(metrics, settings)))
        plan_rules = PlanRules(
            whole_limit=publish.inline_size_limit,
            wanted=_wanted(settings, strategies),
            include_tests=publish.include_tests,
            force=target.force_reindex,
            show_unchanged=show_unchanged,
            overrides=target.overrides,
        )
        known = manifest if source.base is None else SinceManifest(manifest, source.base)
        allowed = float("inf") if manifest.allows_deletions() else target.allow_deletions
        guard = ProjectGuard(
            manifest, fed_from, DeletionLimit(publish.max_deletions, allowed), project, str(where)
        )
        planner = Planner(context, strategies, selector, plan_rules, known)
        observer = PublishObserver(job, project, source.kind, backends)
        if settings.history.enabled:
            observations = await stack.enter_async_context(open_history(settings))
            await stack.enter_async_context(observing(observer, observations))
        publisher = Publisher(
            log,
            context,
            strategies,
            rules,
            known,
            listener,
            correlation_id=job,
            breakers=new_breakers(settings, "publisher", listener),
            observe=observer if settings.history.enabled else lambda _files, _seconds: None,
            limit=guard.limit,
        )
        yield Ingestion(project, context, planner, publisher, rules, history, guard)


def backend_labels(settings: Settings, context: PublishContext) -> dict[ContentStrategy, str]:
    """What the history calls the backend of each strategy: a log, a bucket, a Git host."""
    storage = settings.object_storage
    log = "kafka" if settings.kafka.servers else "embedded"
    git = context.git.remote_url if context.git else None
    return {
        ContentStrategy.INLINE: backend_label(log, ",".join(settings.kafka.servers)),
        ContentStrategy.OBJECT_STORAGE: backend_label(
            storage.provider, f"{storage.endpoint or ''} {storage.bucket or ''}"
        ),
        ContentStrategy.GIT_REFERENCE: backend_label("git", authority_of(git or "")),
    }


def publishing_strategies(settings: Settings, listener: Listener = ignore) -> list[Strategy]:
    """The strategies these settings make possible for files whose bytes are at hand."""
    strategies: list[Strategy] = [InlineStrategy(settings.publish.inline_size_limit)]
    if storage := open_storage(settings):
        strategies.append(
            ObjectStorageStrategy(
                storage,
                link_lifetime_s=settings.storage.link_lifetime,
                retry=retry_policy(settings),
                listener=listener,
            )
        )
    return strategies


async def _warn_of_storage(settings: Settings, log: EventLog) -> None:
    provider = settings.object_storage.provider
    if provider == "local" and settings.kafka.servers:
        logger.warning(
            "storage.provider is local: only agents that share %s can read files over %s",
            display(str(settings.objects_dir)),
            size(settings.publish.inline_size_limit),
        )
    if provider in {"none", "local"}:
        return
    lags = await log.lag(settings.log.group, settings.log.topics)
    if warning := drain_warning(lags, settings.storage.link_lifetime):
        logger.warning(warning)


def _wanted(settings: Settings, strategies: Sequence[Strategy]) -> ContentStrategy | None:
    """The user's explicit choice. Raises `ConfigurationError` where nothing can carry it out."""
    if settings.publish.content_strategy == "auto":
        return None
    wanted = ContentStrategy(settings.publish.content_strategy)
    if wanted not in {strategy.name for strategy in strategies}:
        raise ConfigurationError(f"the content strategy {wanted} is not configured")
    return wanted


async def allow_deletions(settings: Settings, project: str) -> None:
    """Let the next run of `project` delete whatever is gone. Raises `UsageError` for an unknown project."""
    async with open_log(settings) as log:
        path = settings.data_dir / "manifest.sqlite"
        with closing(SqliteManifest(path, f"{log.name} {project}")) as manifest:
            if not manifest.count():
                raise UsageError(f"nothing was published of a project {display(project)}")
            manifest.allow_deletions(True)


def _project(
    target: Target,
    source: ProjectSource,
    directory: str,
    open_manifest: Callable[[str], SqliteManifest],
) -> tuple[str, SqliteManifest]:
    """The project's name and its manifest, which the caller closes.

    A project that has the default name of an older archon, its directory's name, keeps it.
    Raises `UsageError` for a bad name, and where another source feeds the project.
    """
    if target.project_name is not None:
        name = checked_name(target.project_name)
    else:
        name, older = default_name(source, directory), directory_name(directory)
        if name != older:
            with closing(open_manifest(older)) as kept, closing(open_manifest(name)) as fresh:
                bound = kept.source()
                if kept.count() and not fresh.count() and (bound is None or source.is_same(bound)):
                    name = older
    manifest = open_manifest(name)
    bound = manifest.source()
    if bound and not target.rebind:
        try:
            refuse_other(name, bound, source)
        except UsageError:
            manifest.close()
            raise
    return name, manifest
