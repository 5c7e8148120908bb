"""The topics that archon needs, as they should be created."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.events.topics import (
    AGENT_STATUS,
    COMPLETED,
    FAILED,
    FILE_INTELLIGENCE,
    dead_letter_topic,
)
from core.settings.kafka import KafkaSettings

_DAY_MS = 86_400_000
_MINUTE_MS = 60_000
# The largest event is 5 MiB; a dead letter is the event and its reasons.
_MAX_MESSAGE_BYTES = 6 * 1024 * 1024

_SIZED = {"max.message.bytes": str(_MAX_MESSAGE_BYTES)}
_REQUEST = _SIZED | {"retention.ms": str(7 * _DAY_MS)}
_OUTCOME = _SIZED | {"retention.ms": str(_DAY_MS)}
_DEAD = _SIZED | {"retention.ms": str(30 * _DAY_MS)}
_TABLE = _SIZED | {"cleanup.policy": "compact"}
# Agents say how they are every few seconds: compacted often, the topic stays short to read.
_STATUS = {
    "cleanup.policy": "compact",
    "segment.ms": str(5 * _MINUTE_MS),
    "min.cleanable.dirty.ratio": "0.1",
    "max.compaction.lag.ms": str(10 * _MINUTE_MS),
    "delete.retention.ms": str(10 * _MINUTE_MS),
}


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic: its partitions, and the settings that differ from the cluster's defaults."""

    name: str
    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Drift:
    """A setting of an existing topic that is not what archon would have chosen."""

    topic: str
    key: str
    wanted: str
    found: str


def spec_of(topic: str, partitions: int) -> TopicSpec:
    """How `topic` should be created; a name archon does not know is taken for a request topic."""
    if topic.endswith(dead_letter_topic("")):
        return TopicSpec(topic, partitions, _DEAD)
    if topic == AGENT_STATUS:
        return TopicSpec(topic, 1, _STATUS)
    if topic in (COMPLETED, FAILED):
        return TopicSpec(topic, partitions, _OUTCOME)
    return TopicSpec(topic, partitions, _TABLE if topic == FILE_INTELLIGENCE else _REQUEST)


def specs(settings: KafkaSettings, request_topics: Sequence[str]) -> list[TopicSpec]:
    """Every topic that publishing to and consuming from `request_topics` needs."""
    names = [*request_topics, *map(dead_letter_topic, request_topics)]
    names += [COMPLETED, FAILED, FILE_INTELLIGENCE, AGENT_STATUS]
    return [spec_of(name, settings.partitions) for name in names]


def drift(wanted: Sequence[TopicSpec], found: Mapping[str, Mapping[str, str]]) -> list[Drift]:
    """Where the topics in `found` (configuration by topic) differ from `wanted`."""
    return [
        Drift(spec.name, key, value, found[spec.name][key])
        for spec in wanted
        for key, value in spec.config.items()
        if spec.name in found and found[spec.name].get(key, value) != value
    ]
