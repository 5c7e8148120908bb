"""The metrics of a process: fed by the events of a run, and by gauges that are read when scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from core.errors import ArchonError
from core.progress import (
    BatchFinished,
    BatchPublished,
    BatchReceived,
    BatchRefused,
    BreakerChanged,
    DeadLettered,
    EventsLost,
    FallbackUsed,
    FileAnalyzed,
    FileFailed,
    FileResolved,
    FilesDeleted,
    FileSkipped,
    FilesPublished,
    FilesUnchanged,
    ObjectDownloaded,
    ObjectUploaded,
    RepositoryFetched,
    RunEvent,
)
from core.telemetry.caches import CACHE_DEFINITIONS, CacheCollector, CacheFigures
from core.telemetry.families import (
    Definition,
    DeliveryFamilies,
    Families,
    IngestionFamilies,
    ProjectFamilies,
    SourceFamilies,
    StateFamilies,
    WatchFamilies,
)
from core.telemetry.health import Report

PUBLISH, CONSUME = "publish", "consume"
# Past so many projects, further ones are counted together: labels must stay bounded.
MOST_PROJECTS = 1000
OTHER_PROJECTS = "(others)"


def reasons(of: type[ArchonError] = ArchonError) -> set[str]:
    """The reason of every kind of failure that this build knows."""
    return {of.reason}.union(*(reasons(kind) for kind in of.__subclasses__()))


class LagFigures(Protocol):
    """A group's place in a partition; `lag_seconds` is None where unknown."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def lag(self) -> int: ...
    @property
    def lag_seconds(self) -> float | None: ...


class Metrics:
    """archon's metrics in one registry. Calling it with a run event counts it: it is a `Listener`."""

    def __init__(self, registry: CollectorRegistry, *, per_project: bool = False) -> None:
        """`per_project` adds counters by project, for at most `MOST_PROJECTS` of them."""
        self.registry = registry
        make = Families(registry)
        self.ingestion = IngestionFamilies(make)
        self.delivery = DeliveryFamilies(make)
        self.sources = SourceFamilies(make)
        self.watch = WatchFamilies(make)
        self.state = StateFamilies(make)
        self.projects = ProjectFamilies(make) if per_project else None
        self._own = make.definitions
        # Told of every file: finding a metric by its labels costs more than counting.
        self._ingestion_of = cache(self._find_ingestion)
        self._resolved_of = cache(self.sources.resolved.labels)
        self._known_projects: set[str] = set()
        self._tripped: dict[tuple[str, str], set[str]] = {}
        self.has_counted = False
        self._lag: set[tuple[str, str]] = set()
        # A counter that first appears at 1 shows no increase: what can fail is there from the start.
        for reason in sorted(reasons()):
            self.delivery.dead_letters.labels(reason)
            self.ingestion.failed.labels(CONSUME, reason)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)

    @property
    def definitions(self) -> tuple[Definition, ...]:
        """Every family of archon's own, in order."""
        return (*self._own, *CACHE_DEFINITIONS)

    def __call__(self, event: RunEvent) -> None:
        """Count what happened."""
        self.has_counted = True
        match event:
            case FileResolved():
                self._resolved(event)
            case FileAnalyzed(source=source, bytes=size, seconds=seconds, project=project):
                self._ingested(CONSUME, source, 1, size, seconds, project)
            case FilesPublished(project=project, strategy=strategy, files=files, bytes=size, seconds=seconds):
                self._ingested(PUBLISH, strategy, files, size, seconds, project)
            case FileFailed(reason=reason):
                self.ingestion.failed.labels(CONSUME, reason).inc()
            case FileSkipped(reason=reason):
                self.ingestion.skipped.labels(PUBLISH, reason).inc()
            case FilesUnchanged(files=files):
                self.ingestion.skipped.labels(PUBLISH, "unchanged").inc(files)
            case FilesDeleted(files=files):
                self.ingestion.deletions.labels(PUBLISH).inc(files)
            case FallbackUsed(side=side, wanted=wanted, used=used, cause=cause):
                label = PUBLISH if side == "publisher" else CONSUME
                self.sources.fallbacks.labels(label, wanted, used, cause).inc()
            case BreakerChanged():
                self._breaker(event)
            case _:
                self._batch(event)
                self._transfer(event)

    def _batch(self, event: RunEvent) -> None:
        count = self.delivery.batches.labels
        match event:
            case BatchPublished(encoded_bytes=encoded):
                count("published").inc()
                self.delivery.message_bytes.inc(encoded)
            case BatchRefused(files=files):
                count("refused").inc()
                self.ingestion.failed.labels(PUBLISH, "log_refused").inc(files)
            case BatchReceived():
                count("received").inc()
            case BatchFinished(skipped=skipped, deleted=deleted):
                count("finished").inc()
                excluded, late = skipped - event.superseded, event.superseded + event.superseded_deletions
                self.ingestion.skipped.labels(CONSUME, "excluded_by_request").inc(excluded)
                self.ingestion.skipped.labels(CONSUME, "superseded").inc(late)
                self.ingestion.deletions.labels(CONSUME).inc(deleted)
            case EventsLost(topic=topic, count=lost):
                self.delivery.events_lost.labels(topic).inc(lost)
            case DeadLettered(reason=reason):
                self.delivery.dead_letters.labels(reason).inc()

    def _transfer(self, event: RunEvent) -> None:
        sources = self.sources
        match event:
            case ObjectUploaded(existed=True):
                sources.uploads_spared.inc()
            case ObjectUploaded(bytes=size, seconds=seconds):
                sources.uploads.observe(seconds)
                sources.upload_bytes.inc(size)
            case ObjectDownloaded(bytes=size, seconds=seconds):
                sources.downloads.observe(seconds)
                sources.download_bytes.inc(size)
            case RepositoryFetched(bytes=size, seconds=seconds):
                sources.clones.observe(seconds)
                sources.clone_bytes.inc(size)

    def _breaker(self, event: BreakerChanged) -> None:
        label = PUBLISH if event.side == "publisher" else CONSUME
        tripped = self._tripped.setdefault((label, event.kind), set())
        if event.state == "closed":
            tripped.discard(event.name)
        else:
            tripped.add(event.name)
        self.sources.breakers.labels(label, event.kind).set(len(tripped))
        if event.state == "open":
            self.sources.breaker_trips.labels(label, event.kind).inc()

    def _resolved(self, event: FileResolved) -> None:
        found = "none" if event.cache_hit is None else "hit" if event.cache_hit else "miss"
        self._resolved_of(event.source, found).observe(event.seconds)
        if event.attempts > 1:
            self.sources.retries.labels(event.source).inc(event.attempts - 1)

    def _ingested(
        self, side: str, strategy: str, files: int, size: int, seconds: float, project: str
    ) -> None:
        counted, weighed, duration = self._ingestion_of(side, strategy)
        counted.inc(files)
        weighed.inc(size)
        for _ in range(files):
            duration.observe(seconds)
        if self.projects:
            label = self._project(project)
            self.projects.files.labels(side, label).inc(files)
            self.projects.bytes.labels(side, label).inc(size)

    def _find_ingestion(self, side: str, strategy: str) -> tuple[Counter, Counter, Histogram]:
        families = self.ingestion
        return (
            families.files.labels(side, strategy),
            families.bytes.labels(side, strategy),
            families.duration.labels(side, strategy),
        )

    def charge(self, project: str, strategy: str, components: Mapping[str, float]) -> None:
        """Count dollars by component (storage, transfer, compute, requests)."""
        for component, usd in components.items():
            self.ingestion.cost.labels(strategy, component).inc(usd)
        if self.projects:
            self.projects.cost.labels(self._project(project)).inc(sum(components.values()))

    def _project(self, name: str) -> str:
        if name not in self._known_projects:
            if len(self._known_projects) >= MOST_PROJECTS:
                return OTHER_PROJECTS
            self._known_projects.add(name)
        return name

    def watch_branches(self, behind_s: Mapping[str, Callable[[], float]]) -> None:
        """Read for how long each project's branch has been ahead when scraped; seconds by project."""
        for project, read in behind_s.items():
            self.watch.behind.labels(self._project(project)).set_function(read)
            self.watch.failing.labels(self._project(project)).set(0)
        for reason in sorted(reasons()):
            self.watch.failures.labels(reason)

    def show_round(
        self, project: str, outcome: str, *, reason: str | None, failures: int, succeeded_at: float | None
    ) -> None:
        """Count a round of a watched branch, and show how it is now; times are Unix times."""
        self.watch.rounds.labels(outcome).inc()
        if reason:
            self.watch.failures.labels(reason).inc()
        label = self._project(project)
        self.watch.failing.labels(label).set(failures)
        if succeeded_at is not None:
            self.watch.succeeded.labels(label).set(succeeded_at)

    def show_lag(
        self, partitions: Iterable[LagFigures], verdicts: Mapping[tuple[str, int], str] | None = None
    ) -> None:
        """Replace the lag gauges by these partitions' figures; others disappear."""
        shown: set[tuple[str, str]] = set()
        delivery = self.delivery
        delivery.lag_verdict.clear()
        for place in partitions:
            where = (place.topic, str(place.partition))
            shown.add(where)
            delivery.lag_messages.labels(*where).set(place.lag)
            if place.lag_seconds is None:
                delivery.lag_seconds.remove(*where)
            else:
                delivery.lag_seconds.labels(*where).set(place.lag_seconds)
            if verdict := (verdicts or {}).get((place.topic, place.partition)):
                delivery.lag_verdict.labels(*where, verdict.lower()).set(1)
        for gone in self._lag - shown:
            delivery.lag_messages.remove(*gone)
            delivery.lag_seconds.remove(*gone)
        self._lag = shown

    def watch_consumer(
        self,
        *,
        in_flight: Callable[[], tuple[int, int]],
        files_in_flight: Callable[[], int],
        assigned: Callable[[], int],
        progress_age: Callable[[], float],
        blocked: Callable[[], bool],
        oldest_age: Callable[[], float],
    ) -> None:
        """Read these when scraped; `in_flight` is messages and their encoded bytes."""
        delivery = self.delivery
        delivery.in_flight.set_function(lambda: in_flight()[0])
        delivery.in_flight_files.set_function(files_in_flight)
        delivery.in_flight_bytes.set_function(lambda: in_flight()[1])
        delivery.assigned.set_function(assigned)
        delivery.progress_age.set_function(progress_age)
        delivery.blocked.set_function(blocked)
        delivery.oldest_age.set_function(oldest_age)

    def show_health(self, report: Report) -> None:
        """Replace the states of the checks by these."""
        self.state.check.clear()
        for result in report.results:
            self.state.check.labels(result.name, result.state.value).set(1)

    def watch_disk(self, directory: str, read: Callable[[], tuple[int, int]]) -> None:
        """Read the free bytes and the size of the disk under `directory` when scraped."""
        self.state.disk_free.labels(directory).set_function(lambda: read()[0])
        self.state.disk_size.labels(directory).set_function(lambda: read()[1])

    def watch_caches(self, read: Callable[[], Mapping[str, CacheFigures]]) -> None:
        """Read the caches' figures, by cache type, when scraped."""
        self.registry.register(CacheCollector(read))
