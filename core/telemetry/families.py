"""The metric families of archon, declared once: the registry, its documentation and its checks read these.

Names and units follow prometheus.io/docs/practices/naming. A label's values come from the code or the
configuration, never from what is ingested; projects are told apart only where a setting says so.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from core import __version__

# Seconds: from a cached blob (under 1 ms) to the deadline of a Git fetch (5 min).
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


@dataclass(frozen=True, slots=True)
class Definition:
    """A family as it is exposed and documented."""

    name: str
    kind: str
    unit: str
    labels: tuple[str, ...]
    help: str


class Families:
    """Makes families in a registry and keeps their definitions in order of declaration."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.definitions: list[Definition] = []

    def counter(self, name: str, unit: str, help: str, labels: tuple[str, ...] = ()) -> Counter:  # noqa: A002 - prometheus' word
        """A counter; it is exposed as `<name>_total`."""
        self.definitions.append(Definition(f"{name}_total", "counter", unit, labels, help))
        return Counter(name, help, labels, registry=self._registry)

    def gauge(self, name: str, unit: str, help: str, labels: tuple[str, ...] = ()) -> Gauge:  # noqa: A002
        self.definitions.append(Definition(name, "gauge", unit, labels, help))
        return Gauge(name, help, labels, registry=self._registry)

    def seconds(self, name: str, help: str, labels: tuple[str, ...] = ()) -> Histogram:  # noqa: A002
        """A histogram of durations."""
        self.definitions.append(Definition(name, "histogram", "seconds", labels, help))
        return Histogram(name, help, labels, buckets=BUCKETS, registry=self._registry)

    def build(self) -> None:
        """`archon_build_info`."""
        values = {"version": __version__, "python": platform.python_version()}
        Info("archon_build", "This build.", registry=self._registry).info(values)
        self.definitions.append(Definition("archon_build_info", "info", "–", tuple(values), "This build."))


class IngestionFamilies:
    """Files, bytes and time, on either side."""

    def __init__(self, make: Families) -> None:
        strategy = ("side", "content_strategy")
        self.files = make.counter(
            "archon_ingestion_files",
            "files",
            "Files published (side publish), or whose record is durable (side consume).",
            strategy,
        )
        self.bytes = make.counter(
            "archon_ingestion_bytes", "bytes", "Raw content bytes of those files.", strategy
        )
        self.duration = make.seconds(
            "archon_ingestion_duration_seconds",
            "Time per file: publish, from the first send of its batch to the log's acknowledgement; "
            "consume, from the receipt of its event until its record is durable.",
            strategy,
        )
        self.failed = make.counter(
            "archon_ingestion_failed_files",
            "files",
            "Files that failed for good: unpublished because the log refused them, or dead-lettered.",
            ("side", "reason"),
        )
        self.skipped = make.counter(
            "archon_ingestion_skipped_files",
            "files",
            "Files left out for a reason that the run reports.",
            ("side", "reason"),
        )
        self.deletions = make.counter(
            "archon_ingestion_deletions", "files", "Deleted paths published or applied.", ("side",)
        )
        self.cost = make.counter(
            "archon_cost_usd",
            "usd",
            "Dollars at the configured rates; storage is a month of what was newly stored.",
            ("content_strategy", "component"),
        )


class DeliveryFamilies:
    """Events, offsets and what happened to them."""

    def __init__(self, make: Families) -> None:
        partition = ("topic", "partition")
        self.batches = make.counter(
            "archon_batches",
            "events",
            "Events published, refused by the log, received, finished.",
            ("outcome",),
        )
        self.message_bytes = make.counter(
            "archon_published_message_bytes", "bytes", "Encoded bytes of the events that the log took."
        )
        self.dead_letters = make.counter(
            "archon_dead_letters", "events", "Events sent to a dead-letter topic.", ("reason",)
        )
        self.events_lost = make.counter(
            "archon_events_lost",
            "events",
            "Events that the log removed before this agent's group read them.",
            ("topic",),
        )
        self.lag_messages = make.gauge(
            "archon_consumer_lag_messages",
            "messages",
            "Messages of an assigned partition that are not committed yet.",
            partition,
        )
        self.lag_seconds = make.gauge(
            "archon_consumer_lag_seconds",
            "seconds",
            "Age of the oldest uncommitted message of an assigned partition; absent where unknown.",
            partition,
        )
        self.lag_verdict = make.gauge(
            "archon_consumer_lag_verdict",
            "0 or 1",
            "1 for the verdict on an assigned partition: ok, warn, stall, stop, rewind, reset or lost.",
            (*partition, "verdict"),
        )
        self.in_flight = make.gauge("archon_inflight_messages", "messages", "Events being processed now.")
        self.in_flight_files = make.gauge("archon_inflight_files", "files", "Files of those events.")
        self.in_flight_bytes = make.gauge("archon_inflight_bytes", "bytes", "Encoded bytes of those events.")
        self.oldest_age = make.gauge(
            "archon_inflight_oldest_seconds", "seconds", "Time the oldest of those events has been processed."
        )
        self.assigned = make.gauge(
            "archon_assigned_partitions", "partitions", "Partitions assigned to this agent."
        )
        self.progress_age = make.gauge(
            "archon_progress_age_seconds", "seconds", "Time since the consumer's loop last went round."
        )
        self.blocked = make.gauge(
            "archon_commit_blocked",
            "0 or 1",
            "1 while a durable step cannot be written, so that no offset is committed.",
        )


class SourceFamilies:
    """Object storage, Git hosts and what stood in for them."""

    def __init__(self, make: Families) -> None:
        self.resolved = make.seconds(
            "archon_resolve_duration_seconds",
            "Time to get and verify a file's bytes: its share of the group that was fetched together.",
            ("source", "cache"),
        )
        self.retries = make.counter(
            "archon_retries", "attempts", "Repeated attempts that in the end yielded a file.", ("source",)
        )
        self.fallbacks = make.counter(
            "archon_fallbacks",
            "files",
            "Files for which another strategy or source stood in.",
            ("side", "wanted", "used", "cause"),
        )
        self.breakers = make.gauge(
            "archon_circuit_breakers_tripped",
            "backends",
            "Hosts and buckets that are left alone because they failed, or are being probed.",
            ("side", "kind"),
        )
        self.breaker_trips = make.counter(
            "archon_circuit_breaker_trips",
            "openings",
            "How often a circuit breaker opened, failed probes included.",
            ("side", "kind"),
        )
        self.uploads = make.seconds(
            "archon_storage_upload_duration_seconds", "Time of an upload to object storage."
        )
        self.upload_bytes = make.counter(
            "archon_storage_upload_bytes", "bytes", "Bytes uploaded to object storage."
        )
        self.uploads_spared = make.counter(
            "archon_storage_uploads_spared", "objects", "Uploads spared because the content was there."
        )
        self.downloads = make.seconds(
            "archon_storage_download_duration_seconds", "Time of a download from object storage."
        )
        self.download_bytes = make.counter(
            "archon_storage_download_bytes", "bytes", "Bytes downloaded from object storage."
        )
        self.clones = make.seconds(
            "archon_git_clone_duration_seconds", "Time of a fetch of objects from a Git host."
        )
        self.clone_bytes = make.counter(
            "archon_git_clone_bytes", "bytes", "Bytes of packs fetched from Git hosts."
        )


class WatchFamilies:
    """Branches that are watched. Projects come from the configuration, so that their number is bounded."""

    def __init__(self, make: Families) -> None:
        self.rounds = make.counter(
            "archon_watch_rounds",
            "rounds",
            "Looks at a watched branch: unchanged, ingested, failed, busy or interrupted.",
            ("outcome",),
        )
        self.failures = make.counter(
            "archon_watch_failures", "rounds", "Rounds of a watched branch that failed.", ("reason",)
        )
        self.hooks = make.counter(
            "archon_watch_hooks",
            "hooks",
            "Push hooks: queued, ignored (nothing to do), unmatched (no watched repository), or refused.",
            ("outcome",),
        )
        self.behind = make.gauge(
            "archon_watch_behind_seconds",
            "seconds",
            "Time since a watched branch was first seen ahead of what is ingested; 0 while it is not.",
            ("project",),
        )
        self.failing = make.gauge(
            "archon_watch_failures_in_a_row",
            "rounds",
            "Rounds of a watched branch that failed since the last that did not.",
            ("project",),
        )
        self.succeeded = make.gauge(
            "archon_watch_last_success_timestamp_seconds",
            "Unix time",
            "When a watched branch was last known to be ingested; absent before the first time.",
            ("project",),
        )


class StateFamilies:
    """This process and its machine."""

    def __init__(self, make: Families) -> None:
        self.check = make.gauge(
            "archon_health_check",
            "0 or 1",
            "1 for the state of a health check: ok, degraded or failed.",
            ("check", "state"),
        )
        self.disk_free = make.gauge(
            "archon_disk_free_bytes", "bytes", "Free bytes of the disk under a directory.", ("directory",)
        )
        self.disk_size = make.gauge(
            "archon_disk_size_bytes", "bytes", "Size of the disk under a directory.", ("directory",)
        )
        self.last_run = make.gauge(
            "archon_last_run_timestamp_seconds",
            "Unix time",
            "When a run that ends by itself ended.",
            ("side",),
        )
        make.build()


class ProjectFamilies:
    """By project; made only where a setting says so."""

    def __init__(self, make: Families) -> None:
        self.files = make.counter(
            "archon_project_files", "files", "Files by project, if so configured.", ("side", "project")
        )
        self.bytes = make.counter(
            "archon_project_bytes", "bytes", "Raw bytes by project, if so configured.", ("side", "project")
        )
        self.cost = make.counter(
            "archon_project_cost_usd", "usd", "Dollars by project, if so configured.", ("project",)
        )
