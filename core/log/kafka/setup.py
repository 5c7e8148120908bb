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
    redriven_topic,
    retention,
)
from core.settings.kafka import KafkaSettings

# The largest event is 5 MiB. A dead letter is the largest message of any topic, and its reasons.
_MAX_MESSAGE_BYTES = 6 * 1024 * 1024
_MAX_LETTER_BYTES = 7 * 1024 * 1024

# Agents say how they are every few seconds: compacted often, the topic stays short to read.
_STATUS = {
    "segment.ms": str(5 * 60_000),
    "min.cleanable.dirty.ratio": "0.1",
    "max.compaction.lag.ms": str(10 * 60_000),
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
    """How `topic` should be created, kept as long as `core.events.topics` says."""
    rule = retention(topic)
    kept_ms = str(round(rule.seconds * 1000))
    is_dead = topic.endswith(dead_letter_topic(""))
    config = {"max.message.bytes": str(_MAX_LETTER_BYTES if is_dead else _MAX_MESSAGE_BYTES)}
    if rule.compacted:
        config |= {"cleanup.policy": "compact", "delete.retention.ms": kept_ms}
    else:
        config |= {"retention.ms": kept_ms}
    if retention(topic).until_read or topic == AGENT_STATUS:
        # The order of requests, and the age of an agent's status, must not rest on the sender's clock.
        config["message.timestamp.type"] = "LogAppendTime"
    if topic == AGENT_STATUS:
        return TopicSpec(topic, 1, config | _STATUS)
    return TopicSpec(topic, partitions, config)


def specs(settings: KafkaSettings, request_topics: Sequence[str]) -> list[TopicSpec]:
    """Every topic that publishing to and consuming from `request_topics` needs."""
    dead = [dead_letter_topic(topic) for topic in request_topics]
    names = [*request_topics, *dead, *map(redriven_topic, dead)]
    names += [COMPLETED, FAILED, FILE_INTELLIGENCE, AGENT_STATUS]
    return [spec_of(name, settings.partitions) for name in names]


def too_few(wanted: Sequence[TopicSpec], found: Mapping[str, int]) -> list[Drift]:
    """Topics that have fewer partitions than `wanted`; more than that do no harm."""
    return [
        Drift(spec.name, "partitions", str(spec.partitions), str(found[spec.name]))
        for spec in wanted
        if spec.name in found and found[spec.name] < spec.partitions
    ]


def drift(wanted: Sequence[TopicSpec], found: Mapping[str, Mapping[str, str]]) -> list[Drift]:
    """Where the topics in `found` (configuration by topic) differ from `wanted`."""
    return [
        Drift(spec.name, key, value, found[spec.name][key])
        for spec in wanted
        for key, value in spec.config.items()
        if spec.name in found and found[spec.name].get(key, value) != value
    ]
