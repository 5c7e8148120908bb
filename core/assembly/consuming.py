"""Everything that an agent takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry

from core.agent import Agent
from core.assembly.parts import charging, new_breakers, retry_policy, storage_to_check
from core.assembly.source import open_git
from core.assembly.stores import (
    event_source,
    open_content_cache,
    open_cost_history,
    open_history,
    open_index,
    open_log,
    open_storage,
)
from core.bridge import BridgeIntelligenceGenerator
from core.cache.counted import CountedCache
from core.cache.counters import CacheStats
from core.checks import (
    breaker_check,
    cache_directories,
    caches_check,
    dependency_checks,
    disk_of,
    pool_check,
)
from core.consumer import Consumer, Limits
from core.dead_letters import DeadLetters
from core.errors import ArchonError, BackendUnavailable
from core.events.topics import COMPLETED, FAILED, FILE_INTELLIGENCE, dead_letter_topic
from core.fetchers.base import Fetcher
from core.fetchers.git_reference import GitReferenceFetcher
from core.fetchers.inline import InlineFetcher
from core.fetchers.local_path import LocalPathFetcher
from core.fetchers.object_storage import ObjectStorageFetcher
from core.fetchers.resolver import Resolver
from core.fleet import Tally
from core.git.source import WarmLimits
from core.history.costs import recording
from core.history.observing import ConsumeObserver, observing
from core.intelligence.pool import AnalyzerPool
from core.manifest import ingested_directories
from core.processor import RequestProcessor
from core.progress import Listener, ignore, tell_all
from core.results.base import ResultSink
from core.results.topic import TopicSink
from core.settings import Settings
from core.storage.base import ContentStorageClient
from core.storage.factory import link_policy
from core.storage.local import LocalStorageClient
from core.telemetry.cost_meter import CostMeter
from core.telemetry.metrics import Metrics
from core.telemetry.span_export import exporting_spans
from core.warming import Warmer

logger = logging.getLogger(__name__)


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
        for name, directory in {"data": settings.data_dir, **cache_directories(settings)}.items():
            metrics.watch_disk(name.replace(" ", "_"), partial(disk_of, directory))
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
            AnalyzerPool(workers=agent.workers or None, deadline_s=agent.parse_deadline, warm=service)
        )
        history = await stack.enter_async_context(open_cost_history(settings))
        await stack.enter_async_context(recording(meter, history, charging(metrics, settings)))
        cache = await asyncio.to_thread(content_cache_that_opens, settings)
        git = GitReferenceFetcher(partial(open_git, settings), listener)
        resolver = Resolver(
            consuming_fetchers(settings, cache, git, listener),
            listener,
            breakers=new_breakers(settings, "consumer", listener),
            patience_s=agent.file_deadline,
        )
        stack.push_async_callback(resolver.close)
        if settings.clone_cache_dir.is_dir():
            await _open_clones(git)
        sinks: list[ResultSink] = []
        if settings.kafka.servers:  # before the index, which must not know what the topic lacks
            sinks.append(TopicSink(log, source))
        if agent.index:
            sinks.append(await stack.enter_async_context(open_index(settings)))
        processor = RequestProcessor(
            log,
            resolver,
            analyzer,
            sinks,
            DeadLetters(log, settings.log.group, settings.log.topics),
            source,
            listener=listener,
            attempts=None if service else agent.attempts,
            held_bytes=agent.bytes_in_flight,
            held_files=agent.files_in_flight,
        )
        consumer = Consumer(
            log,
            processor,
            group=settings.log.group,
            topics=settings.log.topics,
            member_id=source.instance_id,
            limits=Limits(bytes=agent.bytes_in_flight, grace_s=agent.grace),
            listener=listener,
        )
        storage = await storage_to_check(settings, stack)
        limits = WarmLimits(max_bytes=settings.git.max_fetch_bytes, deadline_s=settings.http.warm_deadline)
        pool = pool_check(analyzer, busy=lambda: consumer.in_flight[0] > 0)

        def caches() -> dict[str, CacheStats]:
            return ({"object": cache.stats()} if cache else {}) | git.cache_stats()

        yield Agent(
            log,
            consumer,
            BridgeIntelligenceGenerator(resolver, analyzer),
            Warmer(resolver, git, limits),
            tally,
            metrics,
            group=settings.log.group,
            topics=settings.log.topics,
            caches=caches,
            checks=[
                *dependency_checks(settings, lambda: nullcontext(log), pool, storage),
                breaker_check(lambda: resolver.breakers.tripped),
                caches_check(caches, lambda: cache.trouble if cache else None),
            ],
            health=settings.health,
        )


def content_cache_that_opens(settings: Settings) -> CountedCache | None:
    """As `open_content_cache`; without a cache the agent only works slower."""
    try:
        return open_content_cache(settings)
    except BackendUnavailable as error:
        logger.warning("contents are not cached: %s", error)
        return None


async def _open_clones(git: GitReferenceFetcher) -> None:
    """Open the clone cache of earlier runs, so that its figures are told before the first event needs it."""
    try:
        await git.open()
    except ArchonError as error:
        logger.warning("the clone cache is not open yet: %s", error)


def local_roots(settings: Settings) -> Callable[[], Sequence[Path]]:
    """The directories whose files events may name: those of the setting, else those ingested from here."""
    if settings.agent.local_roots is not None:
        given = tuple(Path(root) for root in settings.agent.local_roots)
        return lambda: given
    if settings.kafka.servers:  # paths of other machines mean nothing here
        return tuple
    path = settings.data_dir / "manifest.sqlite"
    return lambda: ingested_directories(path)


def consuming_fetchers(
    settings: Settings,
    cache: CountedCache | None,
    git: GitReferenceFetcher,
    listener: Listener = ignore,
) -> list[Fetcher]:
    """The fetchers these settings make possible; each closes the cache that it uses."""
    return [
        InlineFetcher(),
        LocalPathFetcher(local_roots(settings), max_bytes=settings.agent.bytes_in_flight),
        _object_storage_fetcher(settings, cache, listener),
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
        retry=retry_policy(settings),
        in_flight=storage.in_flight,
        listener=listener,
    )
