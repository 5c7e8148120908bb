"""What the metrics say after the events of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from core.events.common import ContentStrategy
from core.progress import (
    BatchFinished,
    BatchPublished,
    BatchRefused,
    DeadLettered,
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
from core.telemetry import metrics as module
from core.telemetry.metrics import Metrics

CHECKLIST = {
    "archon_ingestion_files_total",
    "archon_ingestion_bytes_total",
    "archon_ingestion_duration_seconds",
    "archon_storage_upload_duration_seconds",
    "archon_storage_download_duration_seconds",
    "archon_git_clone_duration_seconds",
    "archon_cache_hit_rate",
    "archon_cache_size_bytes",
    "archon_cost_usd_total",
}


@dataclass
class Cache:
    bytes: int = 300
    max_bytes: int = 1000
    hits: int = 3
    misses: dict[str, int] = field(default_factory=lambda: {"absent": 1})
    evictions: int = 2
    corruptions: int = 0

    @property
    def hit_rate(self) -> float | None:
        looked = self.hits + sum(self.misses.values())
        return self.hits / looked if looked else None


@dataclass
class Place:
    topic: str
    partition: int
    lag: int
    lag_seconds: float | None


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


@pytest.mark.parametrize(
    ("event", "name", "labels", "expected"),
    [
        (
            FilesPublished("p", "j", ContentStrategy.GIT_REFERENCE, 7, 70, 900, 0.5),
            "archon_ingestion_files_total",
            {"side": "publish", "content_strategy": "git_reference"},
            7,
        ),
        (
            FilesPublished("p", "j", ContentStrategy.INLINE, 7, 70, 900, 0.5),
            "archon_ingestion_duration_seconds_sum",
            {"side": "publish", "content_strategy": "inline"},
            3.5,
        ),
        (
            FileAnalyzed("p", "a.py", 70, 0.5, "local_path"),
            "archon_ingestion_bytes_total",
            {"side": "consume", "content_strategy": "local_path"},
            70,
        ),
        (
            FileFailed("p", "a.py", "content_missing", "gone"),
            "archon_ingestion_failed_files_total",
            {"side": "consume", "reason": "content_missing"},
            1,
        ),
        (
            BatchRefused(1, 9, "no"),
            "archon_ingestion_failed_files_total",
            {"side": "publish", "reason": "log_refused"},
            9,
        ),
        (
            FileSkipped("a", "symlink", "", False),
            "archon_ingestion_skipped_files_total",
            {"side": "publish", "reason": "symlink"},
            1,
        ),
        (
            FilesUnchanged(40),
            "archon_ingestion_skipped_files_total",
            {"side": "publish", "reason": "unchanged"},
            40,
        ),
        (FilesDeleted(3), "archon_ingestion_deletions_total", {"side": "publish"}, 3),
        (BatchPublished(1, 7, 70, 900, 0.5), "archon_published_message_bytes_total", {}, 900),
        (
            BatchFinished("t", 0, 1, 5, 1, 2, 4, 0.5),
            "archon_ingestion_deletions_total",
            {"side": "consume"},
            4,
        ),
        (BatchFinished("t", 0, 1, 5, 1, 2, 4, 0.5), "archon_batches_total", {"outcome": "finished"}, 1),
        (
            DeadLettered("t", 0, 1, 5, "invalid_event", "bad"),
            "archon_dead_letters_total",
            {"reason": "invalid_event"},
            1,
        ),
        (
            FallbackUsed("publisher", "object_storage", "inline", "backend_unavailable"),
            "archon_fallbacks_total",
            {
                "side": "publish",
                "wanted": "object_storage",
                "used": "inline",
                "cause": "backend_unavailable",
            },
            1,
        ),
        (
            FileResolved("a", "git_reference", 70, 0.5, attempts=3, cache_hit=True),
            "archon_retries_total",
            {"source": "git_reference"},
            2,
        ),
        (
            FileResolved("a", "git_reference", 70, 0.5, cache_hit=True),
            "archon_resolve_duration_seconds_count",
            {"source": "git_reference", "cache": "hit"},
            1,
        ),
        (ObjectUploaded("p", 70, 0.5, existed=False), "archon_storage_upload_bytes_total", {}, 70),
        (ObjectUploaded("p", 70, 0.5, existed=True), "archon_storage_upload_duration_seconds_count", {}, 0),
        (ObjectUploaded("p", 70, 0.5, existed=True), "archon_storage_uploads_spared_total", {}, 1),
        (ObjectDownloaded("p", "j", 70, 0.5, 1), "archon_storage_download_duration_seconds_sum", {}, 0.5),
        (RepositoryFetched("p", "j", 70, 0.5), "archon_git_clone_bytes_total", {}, 70),
    ],
)
def test_events_are_counted(
    metrics: Metrics, event: RunEvent, name: str, labels: dict[str, str], expected: float
) -> None:
    metrics(event)
    assert value(metrics, name, **labels) == expected


def test_the_checklists_names_exist(metrics: Metrics) -> None:
    metrics.watch_caches(lambda: {"object": Cache()})
    assert {item.name for item in metrics.definitions} >= CHECKLIST
    exposed = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in metrics.registry.collect()
    }
    assert exposed >= CHECKLIST


def test_every_exposed_family_is_declared_with_help_and_unit() -> None:
    metrics = Metrics(CollectorRegistry(), per_project=True)
    metrics.watch_caches(lambda: {"object": Cache()})
    suffix = {"counter": "_total", "info": "_info"}
    exposed = {
        f"{family.name}{suffix.get(family.type, '')}"
        for family in metrics.registry.collect()
        if family.name.startswith("archon_")
    }
    assert exposed == {item.name for item in metrics.definitions}
    assert all(item.help.endswith(".") and item.unit for item in metrics.definitions)


def test_the_exposition_parses_and_its_labels_are_the_declared_ones() -> None:
    metrics = Metrics(CollectorRegistry(), per_project=True)
    metrics.watch_caches(lambda: {"object": Cache()})
    metrics(FileAnalyzed('p"\n\\', "a.py", 70, 0.5, "inline"))
    metrics.charge("p", "inline", {"transfer": 0.25})
    declared = {item.name: set(item.labels) for item in metrics.definitions}
    seen: set[str] = set()
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name not in declared:
            continue
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                assert set(sample.labels) - {"le"} == declared[name], sample
                seen.add(name)
    assert {"archon_cache_misses_total", "archon_project_files_total", "archon_cost_usd_total"} <= seen


def test_caches_are_read_when_scraped(metrics: Metrics) -> None:
    cache = Cache()
    metrics.watch_caches(lambda: {"object": cache})
    cache.hits = 9
    assert value(metrics, "archon_cache_hit_rate", cache_type="object") == 0.9
    assert value(metrics, "archon_cache_size_bytes", cache_type="object") == 300
    assert value(metrics, "archon_cache_misses_total", cache_type="object", cause="absent") == 1


def test_a_hit_rate_without_lookups_is_absent_not_zero(metrics: Metrics) -> None:
    metrics.watch_caches(lambda: {"git": Cache(hits=0, misses={})})
    assert value(metrics, "archon_cache_hit_rate", cache_type="git") is None
    assert value(metrics, "archon_cache_hits_total", cache_type="git") == 0


def test_lag_of_partitions_that_are_not_ours_any_more_disappears(metrics: Metrics) -> None:
    metrics.show_lag([Place("t", 0, 5, 12.5), Place("t", 1, 0, None)], {("t", 0): "WARN"})
    assert value(metrics, "archon_consumer_lag_seconds", topic="t", partition="0") == 12.5
    assert value(metrics, "archon_consumer_lag_seconds", topic="t", partition="1") is None
    assert value(metrics, "archon_consumer_lag_verdict", topic="t", partition="0", verdict="warn") == 1
    metrics.show_lag([Place("t", 1, 3, None)], {("t", 1): "OK"})
    assert value(metrics, "archon_consumer_lag_messages", topic="t", partition="0") is None
    assert value(metrics, "archon_consumer_lag_verdict", topic="t", partition="0", verdict="warn") is None
    assert value(metrics, "archon_consumer_lag_messages", topic="t", partition="1") == 3


def test_the_consumers_state_is_read_when_scraped(metrics: Metrics) -> None:
    now = [2, 4096]
    metrics.watch_consumer(
        in_flight=lambda: (now[0], now[1]),
        files_in_flight=lambda: 17,
        assigned=lambda: 3,
        progress_age=lambda: 0.25,
        blocked=lambda: True,
        oldest_age=lambda: 61.5,
    )
    now[0] = 5
    assert value(metrics, "archon_inflight_messages") == 5
    assert value(metrics, "archon_inflight_bytes") == 4096
    assert value(metrics, "archon_inflight_files") == 17
    assert value(metrics, "archon_assigned_partitions") == 3
    assert value(metrics, "archon_progress_age_seconds") == 0.25
    assert value(metrics, "archon_commit_blocked") == 1
    assert value(metrics, "archon_inflight_oldest_seconds") == 61.5


def test_projects_are_told_apart_only_on_request_and_within_bounds(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = FileAnalyzed("secret-name", "a.py", 70, 0.5, "inline")
    metrics(event)
    assert b"secret-name" not in generate_latest(metrics.registry)
    monkeypatch.setattr(module, "MOST_PROJECTS", 2)
    by_project = Metrics(CollectorRegistry(), per_project=True)
    for name in ("a", "b", "c", "d", "a"):
        by_project(FileAnalyzed(name, "a.py", 70, 0.5, "inline"))
    files = "archon_project_files_total"
    assert value(by_project, files, side="consume", project="a") == 2
    assert value(by_project, files, side="consume", project="c") is None
    assert value(by_project, files, side="consume", project="(others)") == 2
    by_project.charge("c", "inline", {"transfer": 0.25, "compute": 0.5})
    assert value(by_project, "archon_project_cost_usd_total", project="(others)") == 0.75


def test_failures_are_zero_before_they_first_happen(metrics: Metrics) -> None:
    assert value(metrics, "archon_dead_letters_total", reason="checksum_mismatch") == 0
    assert (
        value(metrics, "archon_ingestion_failed_files_total", side="consume", reason="analysis_failed") == 0
    )
