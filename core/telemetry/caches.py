"""The metrics of caches, read from them when scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.telemetry.families import Definition


class CacheFigures(Protocol):
    """What a cache tells about itself; counters are lifetime, `hit_rate` is None before the first lookup."""

    @property
    def bytes(self) -> int: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def hits(self) -> int: ...
    @property
    def misses(self) -> Mapping[str, int]: ...
    @property
    def evictions(self) -> int: ...
    @property
    def corruptions(self) -> int: ...
    @property
    def hit_rate(self) -> float | None: ...


_TYPE = ("cache_type",)
CACHE_DEFINITIONS = (
    Definition(
        "archon_cache_hit_rate",
        "gauge",
        "0 to 1",
        _TYPE,
        "Hits per lookup, lifetime; absent before the first.",
    ),
    Definition("archon_cache_size_bytes", "gauge", "bytes", _TYPE, "Bytes in the cache."),
    Definition("archon_cache_limit_bytes", "gauge", "bytes", _TYPE, "Bytes that the cache may hold."),
    Definition("archon_cache_hits_total", "counter", "lookups", _TYPE, "Lookups that found their content."),
    Definition(
        "archon_cache_misses_total",
        "counter",
        "lookups",
        (*_TYPE, "cause"),
        "Lookups that did not, by cause.",
    ),
    Definition("archon_cache_evictions_total", "counter", "entries", _TYPE, "Entries removed to make room."),
    Definition(
        "archon_cache_corruptions_total",
        "counter",
        "entries",
        _TYPE,
        "Entries that differed from their checksum.",
    ),
)


class CacheCollector(Collector):
    """Exposes caches by their type (`object`, `git`)."""

    def __init__(self, read: Callable[[], Mapping[str, CacheFigures]]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        return list(_cache_families().values())

    def collect(self) -> Iterator[Metric]:
        families = _cache_families()

        def add(name: str, labels: tuple[str, ...], value: float) -> None:
            families[name].add_metric(labels, value)

        for kind, figures in self._read().items():
            if figures.hit_rate is not None:
                add("archon_cache_hit_rate", (kind,), figures.hit_rate)
            add("archon_cache_size_bytes", (kind,), figures.bytes)
            add("archon_cache_limit_bytes", (kind,), figures.max_bytes)
            add("archon_cache_hits_total", (kind,), figures.hits)
            add("archon_cache_evictions_total", (kind,), figures.evictions)
            add("archon_cache_corruptions_total", (kind,), figures.corruptions)
            for cause, count in figures.misses.items():
                add("archon_cache_misses_total", (kind, cause), count)
        yield from families.values()


def _cache_families() -> dict[str, GaugeMetricFamily | CounterMetricFamily]:
    kinds = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}
    return {
        item.name: kinds[item.kind](item.name, item.help, labels=item.labels) for item in CACHE_DEFINITIONS
    }
