"""The only place that builds adapters from Settings."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry

from core.agent import Agent
from core.breaker import Breakers
from core.bridge import BridgeIntelligenceGenerator
from core.cache.counted import CountedCache
from core.cache.disk import DiskCache
from core.checks import breaker_check, caches_check, dependency_checks, disk_of, pool_check
from core.consumer import Consumer, Limits
from core.cost_history import Charge, CostHistory, recording
from core.dead_letters import DeadLetters
from core.errors import BackendUnavailable, ConfigurationError, UsageError
from core.events.common import ContentStrategy, Source
from core.events.topics import COMPLETED, FAILED, FILE_INTELLIGENCE, REQUESTED_V2, dead_letter_topic
from core.fetchers.base import Fetcher
from core.fetchers.git_reference import GitReferenceFetcher
from core.fetchers.inline import InlineFetcher
from core.fetchers.local_path import LocalPathFetcher
from core.fetchers.object_storage import ObjectStorageFetcher
from core.fetchers.resolver import Resolver
from core.fleet import Tally
from core.history import History
from core.intelligence.pool import AnalyzerPool
from core.log.base import EventLog
from core.log.embedded import EmbeddedLog
from core.manifest import SqliteManifest
from core.observing import ConsumeObserver, PublishObserver, backend_label, observing
from core.planner import Planner, PlanRules
from core.processor import RequestProcessor
from core.progress import FilesExpected, Listener, ignore, tell_all
from core.publisher import MESSAGE_OVERHEAD, Publisher, PublishRules
from core.repository.facts import Countable
from core.results.base import ResultSink
from core.results.index import ResultsIndex
from core.results.topic import TopicSink
from core.retry import RetryPolicy
from core.selection import new_selector
from core.settings import Settings
from core.since import SinceManifest
from core.source import RemoteTarget as RemoteTarget  # parts of what `ingestion` takes
from core.source import Target as Target
from core.source import open_git, open_source
from core.storage.base import ContentStorageClient
from core.storage.factory import link_policy, new_storage
from core.storage.local import LocalStorageClient
from core.strategies.base import PublishContext, Strategy
from core.strategies.inline import InlineStrategy
from core.strategies.object_storage import ObjectStorageStrategy, drain_warning
from core.telemetry.cost import Usage, price
from core.telemetry.cost_meter import CostMeter
from core.telemetry.export import export
from core.telemetry.health import HealthMonitor, Report
from core.telemetry.metrics import Metrics
from core.telemetry.span_export import exporting_spans

logger = logging.getLogger(__name__)

# The largest event's JSON around its files: names, URLs and credentials references have bounds.
ENVELOPE_BYTES = 16 << 10
_UNFIT = re.compile(r"[^\w. -]+")
PROJECT_NAME_LIMIT = 100
# A doctor may wait longer than a probe: cold processes, cold connections.
DOCTOR_PATIENCE_S = 15.0


def event_source(service: str = "archon-agent") -> Source:
    """Who this process says it is on the wire."""
    hostname = socket.gethostname()
    return Source(service=service, instance_id=f"{hostname}-{os.getpid()}", hostname=hostname)


def open_log(settings: Settings) -> EventLog:
    """The event log of these settings, to be entered as a context manager. Raises `ConfigurationError`."""
    if settings.kafka.servers:
        from core.log.kafka import KafkaLog  # only who uses Kafka pays for its client

        return KafkaLog(settings.kafka, client_id=event_source().instance_id)
    return EmbeddedLog(settings.data_dir / "log.sqlite", partitions=settings.log.partitions)


def open_index(settings: Settings) -> ResultsIndex:
    """The local results index, to be entered as a context manager."""
    return ResultsIndex(settings.data_dir / "results.sqlite")


def open_cost_history(settings: Settings) -> CostHistory:
    """The local history of what ingestion used, to be entered as a context manager."""
    return CostHistory(settings.data_dir / "cost.sqlite")


def open_history(settings: Settings) -> History:
    """The local history of how files were delivered, to be entered as a context manager."""
    bounds = settings.history
    return History(settings.data_dir / "history.sqlite", max_age_s=bounds.max_age, max_rows=bounds.max_files)


@dataclass(frozen=True, slots=True)
class Ingestion:
    """A repository opened for publishing."""

    project_name: str
    context: PublishContext
    planner: Planner
    publisher: Publisher
    rules: PublishRules
    costs: CostHistory


@asynccontextmanager
async def ingestion(
    settings: Settings, target: Target, *, show_unchanged: bool = False, listener: Listener = ignore
) -> AsyncIterator[Ingestion]:
    """Open everything that planning and publishing `target` needs.

    Raises `UsageError` for a wrong path or name, `ConfigurationError`, `BackendUnavailable`.
    """
    publish = settings.publish
    async with AsyncExitStack() as stack:
        source = await open_source(settings, target, stack)
        repository = source.repository
        if isinstance(repository, Countable):
            listener(FilesExpected(repository.count_files()))
        project = project_name(target.project_name, repository.name)
        log = await stack.enter_async_context(open_log(settings))
        limit = min(publish.max_batch_bytes, await log.max_message_bytes(REQUESTED_V2))
        context = PublishContext(
            project_name=project,
            repository=repository,
            git=repository.git_state(),
            max_file_bytes=limit - ENVELOPE_BYTES - MESSAGE_OVERHEAD,
        )
        await _warn_of_short_links(settings, log)
        scope = f"{log.name} {project}"
        manifest = stack.enter_context(closing(SqliteManifest(settings.data_dir / "manifest.sqlite", scope)))
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
        )
        job = str(uuid.uuid4())
        meter = CostMeter("publish", project=project, job=job)
        metrics = Metrics(CollectorRegistry(), per_project=settings.telemetry.per_project)
        spans = await stack.enter_async_context(exporting_spans(settings.telemetry, "archon-ingest"))
        listener = tell_all(listener, metrics, meter, spans)
        made = [*publishing_strategies(settings, listener), source.git]
        strategies = [strategy for strategy in made if strategy.name not in target.without]
        for strategy in strategies:
            stack.push_async_callback(strategy.close)
        stack.push_async_callback(export, metrics, settings.telemetry)
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
            breakers=_breakers(settings, "publisher", listener),
            observe=observer if settings.history.enabled else lambda _files, _seconds: None,
        )
        yield Ingestion(project, context, planner, publisher, rules, history)


def backend_labels(settings: Settings, context: PublishContext) -> dict[ContentStrategy, str]:
    """What the history calls the backend of each strategy."""
    storage = settings.storage
    log = "kafka" if settings.kafka.servers else "embedded"
    git = context.git.remote_url if context.git else None
    return {
        ContentStrategy.INLINE: backend_label(log, ",".join(settings.kafka.servers)),
        ContentStrategy.OBJECT_STORAGE: backend_label(
            storage.provider, f"{storage.endpoint or ''} {storage.bucket or ''}"
        ),
        ContentStrategy.GIT_REFERENCE: backend_label("git", git or ""),
    }


def publishing_strategies(settings: Settings, listener: Listener = ignore) -> list[Strategy]:
    """The strategies these settings make possible for files whose bytes are at hand."""
    strategies: list[Strategy] = [InlineStrategy(settings.publish.inline_size_limit)]
    if storage := open_storage(settings):
        strategies.append(
            ObjectStorageStrategy(
                storage,
                link_lifetime_s=settings.storage.link_lifetime,
                retry=_retry(settings),
                listener=listener,
            )
        )
    return strategies


def open_storage(settings: Settings) -> ContentStorageClient | None:
    """The object storage of these settings, None where there is none. Raises `ConfigurationError`."""
    return new_storage(settings.storage, settings.objects_dir)


def open_caches(settings: Settings) -> dict[str, CountedCache]:
    """Every cache that is turned on, opened, by its type. Blocks; raises as `open_content_cache`."""
    content = open_content_cache(settings)
    return {"object": content} if content else {}


def _caches_that_open(settings: Settings) -> dict[str, CountedCache]:
    """As `open_caches`; without caches the agent only works slower."""
    try:
        return open_caches(settings)
    except BackendUnavailable as error:
        logger.warning("contents are not cached: %s", error)
        return {}


def open_content_cache(settings: Settings) -> CountedCache | None:
    """The cache of fetched contents, opened; None where it is turned off. Blocks.

    Raises `BackendUnavailable` or `ConfigurationError` where the directory cannot be used.
    """
    if not settings.cache.max_bytes:
        return None
    cache = CountedCache(DiskCache(settings.content_cache_dir, settings.cache.max_bytes))
    cache.open()
    return cache


def _breakers(settings: Settings, side: str, listener: Listener) -> Breakers:
    breaker = settings.breaker
    return Breakers(side, failures=breaker.failures, pause_s=breaker.pause, listener=listener)


def _retry(settings: Settings) -> RetryPolicy:
    return RetryPolicy(attempts=settings.agent.attempts, deadline_s=settings.agent.file_deadline)


async def _warn_of_short_links(settings: Settings, log: EventLog) -> None:
    if settings.storage.provider in {"none", "local"}:
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


def project_name(given: str | None, default: str) -> str:
    """A valid project name, 1 to 100 characters. Raises `UsageError` for a given one that is not."""
    if given is None:
        return _UNFIT.sub("-", default).strip("-")[:PROJECT_NAME_LIMIT] or "project"
    if not 1 <= len(given) <= PROJECT_NAME_LIMIT or not given.isprintable():
        raise UsageError(f"a project name has 1 to {PROJECT_NAME_LIMIT} printable characters")
    return given


@asynccontextmanager
async def consuming(
    settings: Settings, *, listener: Listener = ignore, service: bool = True
) -> AsyncIterator[Agent]:
    """Open everything that an agent needs.

    A `service` waits for a durable step for ever; otherwise it fails after `agent.attempts`.
    Raises `ConfigurationError`, also for a topic that is missing; `BackendUnavailable`.
    """
    agent = settings.agent
    async with AsyncExitStack() as stack:
        source = event_source()
        tally = Tally(source, settings.log.group)
        metrics = Metrics(CollectorRegistry(), per_project=settings.telemetry.per_project)
        for name, directory in (("data", settings.data_dir), ("cache", settings.cache_dir)):
            metrics.watch_disk(name, partial(disk_of, directory))
        meter = CostMeter("consume")
        spans = await stack.enter_async_context(exporting_spans(settings.telemetry, "archon-agent"))
        listener = tell_all(listener, tally, metrics, meter, spans)
        if settings.history.enabled and not settings.kafka.servers:  # else the halves go by topic
            observer = ConsumeObserver()
            listener = tell_all(listener, observer)
            observations = await stack.enter_async_context(open_history(settings))
            await stack.enter_async_context(observing(observer, observations))
        log = await stack.enter_async_context(open_log(settings))
        for topic in (*map(dead_letter_topic, settings.log.topics), COMPLETED, FAILED, FILE_INTELLIGENCE):
            await log.max_message_bytes(topic)  # what cannot be written to later must be told now
        analyzer = await stack.enter_async_context(
            AnalyzerPool(workers=agent.workers or None, deadline_s=agent.parse_deadline)
        )
        history = await stack.enter_async_context(open_cost_history(settings))
        await stack.enter_async_context(recording(meter, history, charging(metrics, settings)))
        caches = await asyncio.to_thread(_caches_that_open, settings)
        git = GitReferenceFetcher(partial(open_git, settings), listener)
        resolver = Resolver(
            consuming_fetchers(settings, caches, git, listener),
            listener,
            breakers=_breakers(settings, "consumer", listener),
            patience_s=agent.file_deadline,
        )
        stack.push_async_callback(resolver.close)
        sinks: list[ResultSink] = []
        if agent.index:
            sinks.append(await stack.enter_async_context(open_index(settings)))
        if settings.kafka.servers:
            sinks.append(TopicSink(log, source))
        processor = RequestProcessor(
            log,
            resolver,
            analyzer,
            sinks,
            DeadLetters(log, settings.log.group),
            source,
            listener=listener,
            attempts=None if service else agent.attempts,
            held_bytes=agent.bytes_in_flight,
        )
        consumer = Consumer(
            log,
            processor,
            group=settings.log.group,
            topics=settings.log.topics,
            member_id=source.instance_id,
            limits=Limits(bytes=agent.bytes_in_flight, grace_s=agent.grace),
        )
        storage = await _storage_to_check(settings, stack)
        pool = pool_check(analyzer, busy=lambda: consumer.in_flight[0] > 0)
        yield Agent(
            log,
            consumer,
            BridgeIntelligenceGenerator(resolver, analyzer),
            tally,
            metrics,
            group=settings.log.group,
            topics=settings.log.topics,
            caches=lambda: {name: cache.stats() for name, cache in caches.items()} | git.cache_stats(),
            checks=[
                *dependency_checks(settings, lambda: nullcontext(log), pool, storage),
                breaker_check(lambda: resolver.breakers.tripped),
                caches_check(lambda: {name: cache.trouble for name, cache in caches.items()}),
            ],
            health=settings.health,
        )


async def examine(settings: Settings) -> Report:
    """Run every check of what these settings depend on, without starting anything that stays."""
    agent = settings.agent
    async with AsyncExitStack() as stack:
        analyzer = await stack.enter_async_context(AnalyzerPool(workers=1, deadline_s=agent.parse_deadline))
        storage = await _storage_to_check(settings, stack)
        checks = dependency_checks(settings, lambda: open_log(settings), pool_check(analyzer), storage)
        monitor = HealthMonitor(checks, deadline_s=max(DOCTOR_PATIENCE_S, settings.health.check_deadline))
        stack.push_async_callback(monitor.close)
        return await monitor.report()


async def _storage_to_check(settings: Settings, stack: AsyncExitStack) -> ContentStorageClient | None:
    """The object storage, where it is more than a directory of this machine; closed with `stack`."""
    if settings.storage.provider in {"none", "local"} or not (storage := open_storage(settings)):
        return None
    stack.push_async_callback(storage.close)
    return storage


def charging(metrics: Metrics, settings: Settings) -> Charge:
    """Counts usage in dollars, at the rates of `settings`."""

    def charge(project: str, strategy: str, usage: Usage) -> None:
        metrics.charge(project, strategy, price(usage, settings.cost).known)

    return charge


def consuming_fetchers(
    settings: Settings,
    caches: Mapping[str, CountedCache],
    git: GitReferenceFetcher,
    listener: Listener = ignore,
) -> list[Fetcher]:
    """The fetchers these settings make possible; each closes the cache that it uses."""
    roots = settings.agent.local_roots
    if roots is None:  # paths of strangers' machines mean nothing here, those of this machine may
        roots = () if settings.kafka.servers else ("/",)
    local = [Path(root) for root in roots]
    return [
        InlineFetcher(),
        LocalPathFetcher(local, max_bytes=settings.agent.bytes_in_flight),
        _object_storage_fetcher(settings, caches.get("object"), listener),
        git,
    ]


def _object_storage_fetcher(
    settings: Settings, cache: CountedCache | None, listener: Listener
) -> ObjectStorageFetcher:
    storage = settings.storage
    stores: list[ContentStorageClient] = []
    if storage.read_by_key and storage.provider != "none":
        # Events published before another provider was configured may still point to this machine's store.
        stores = [LocalStorageClient(settings.objects_dir)]
        configured = open_storage(settings)
        if configured and configured.location != stores[0].location:
            stores.append(configured)
    links: LinkReader | None = None
    if policy := link_policy(storage):
        from core.storage.links import LinkReader  # who follows no links pays for no HTTP client

        links = LinkReader(policy, storage.in_flight)
    return ObjectStorageFetcher(
        stores,
        links,
        cache,
        retry=_retry(settings),
        in_flight=storage.in_flight,
        listener=listener,
    )
