"""The sections of archon.toml that the main job needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from core.events.topics import CONSUMER_GROUP, REQUEST_TOPICS
from core.settings.option import Duration, Section, Size, StringList, option

StrategyChoice = Literal["auto", "inline", "object_storage", "git_reference"]
Positive = Annotated[int, Field(gt=0)]


class PublishSettings(Section):
    """What the publisher packs and how."""

    content_strategy: StrategyChoice = option(
        "auto", "how file contents travel", flag="content-strategy", common=True
    )
    inline_size_limit: Size = option(
        "100KB", "largest file sent inline", flag="inline-size-limit", common=True
    )
    batch_size: Positive = option(100, "most files in one event", flag="batch-size")
    max_batch_bytes: Size = option("5MiB", "largest encoded event", flag="max-batch-bytes")
    include_tests: bool = option(True, "publish test files too", flag="include-tests", common=True)
    include_untracked: bool = option(
        False, "publish untracked files that Git does not ignore", flag="include-untracked", common=True
    )
    max_deletions: Annotated[float, Field(ge=0, le=1)] = option(
        0.5,
        "share of a project of over 20 files, 0 to 1, that a run may delete unasked; 1 lets all go",
    )


class SelectorSettings(Section):
    """Who chooses among the strategies that can carry a file, and what its choice is measured by."""

    use: Literal["auto", "rules"] = option("auto", "auto is the learned selector where a model is active")
    model: Path | None = option(None, "a model trained elsewhere; needs selector.digest")
    digest: str | None = option(None, "SHA-256 that selector.model must have, in hex")
    usd_per_hour: Annotated[float, Field(gt=0)] = option(
        10.0, "dollars that an hour of publishing or fetching is worth: the rate between time and dollars"
    )
    failure_cost: Duration = option("60s", "time that a file which fails to arrive counts as")
    explore: Annotated[float, Field(ge=0, le=0.5)] = option(
        0.0, "share of files, 0 to 0.5, that go by another strategy so that the history learns of it"
    )
    seed: int = option(0, "which files those are")
    min_files: Positive = option(200, "fewest observations of a strategy at a backend to learn from")


class HistorySettings(Section):
    """What is kept of how files were delivered, for `selector train`."""

    enabled: bool = option(True, "keep a history of how files were delivered", flag="history")
    max_age: Duration = option("90d", "how long an observation is kept")
    max_files: Positive = option(500_000, "most observations kept; about 120 bytes each")


class BreakerSettings(Section):
    """When a storage or Git host that fails is left alone."""

    failures: Positive = option(5, "failures in a row after which a backend is left alone")
    pause: Duration = option("10s", "how long it is left alone before one call probes it")


class LogSettings(Section):
    """Which topics and group; the log itself is Kafka where `kafka.servers` is set, else embedded."""

    topics: StringList = option(
        ",".join(REQUEST_TOPICS),
        "request topics that the agent consumes, comma-separated",
        flag="topics",
    )
    group: str = option(CONSUMER_GROUP, "consumer group", flag="group")
    partitions: Positive = option(4, "partitions of a topic that the embedded log creates")


class AgentSettings(Section):
    """How `archon-agent run` works through the log."""

    files_in_flight: Positive = option(512, "most files being resolved or analysed at once")
    bytes_in_flight: Size = option("64MiB", "most content bytes held at once")
    workers: Annotated[int, Field(ge=0)] = option(0, "analysis processes; 0 is one per core", common=True)
    parse_deadline: Duration = option("20s", "longest analysis of one file")
    grace: Duration = option("25s", "time to finish what is in flight after SIGTERM")
    attempts: Positive = option(3, "attempts at a retryable failure before the dead letter")
    file_deadline: Duration = option("60s", "total time to resolve one file, retries included")
    local_roots: StringList | None = option(
        None,
        "directories that v1 paths may lie in [default: those ingested here; with Kafka none]",
    )
    index: bool = option(True, "write records to the local results index", flag="index")
