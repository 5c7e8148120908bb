"""Which member of a group reads which partition: even in every topic, and as little moved as that allows.

aiokafka's sticky assignor evens out the sum over all topics. With an idle v1 topic beside a busy v2 topic one
member may then have four of six busy partitions.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from core.log.base import TopicPartition

_VERSION: Final = 0


class Subscriber(NamedTuple):
    """A member: the topics it reads, and the partitions that it had before."""

    topics: frozenset[str]
    before: frozenset[TopicPartition] = frozenset()


def balance(
    partitions: Mapping[str, Sequence[int]], members: Mapping[str, Subscriber]
) -> dict[str, list[TopicPartition]]:
    """Every partition to one member that reads its topic; in no topic has a member two more than another.

    Within that, members keep what they had, and the odd partitions of a topic go to those with least.
    """
    given: dict[str, list[TopicPartition]] = {name: [] for name in members}
    for topic in sorted(partitions):
        readers = sorted(name for name, member in members.items() if topic in member.topics)
        if readers:
            _share_out(topic, sorted(partitions[topic]), readers, members, given)
    return given


def _share_out(
    topic: str,
    numbers: Sequence[int],
    readers: Sequence[str],
    members: Mapping[str, Subscriber],
    given: dict[str, list[TopicPartition]],
) -> None:
    least, odd = divmod(len(numbers), len(readers))
    free = [TopicPartition(topic, number) for number in numbers]
    count: Counter[str] = Counter()

    def give(name: str, where: TopicPartition) -> None:
        given[name].append(where)
        free.remove(where)
        count[name] += 1

    def by_load(name: str) -> tuple[int, str]:
        return len(given[name]), name

    for name in readers:
        for where in sorted(members[name].before.intersection(free))[:least]:
            give(name, where)
    for name in sorted(readers, key=by_load):
        if odd and count[name] == least and (kept := sorted(members[name].before.intersection(free))):
            give(name, kept[0])
            odd -= 1
    for where in list(free):
        short = [name for name in readers if count[name] < least]
        give(min(short or [name for name in readers if count[name] == least], key=by_load), where)


class TopicBalancedAssignor(AbstractPartitionAssignor):  # type: ignore[misc] # aiokafka is untyped
    """`balance` for aiokafka, which keeps an assignor's memory in its class: make a subclass per member."""

    name: ClassVar[str] = "archon-topic-balanced"
    held: ClassVar[frozenset[TopicPartition]] = frozenset()

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
        subscribers = {
            name: Subscriber(frozenset(metadata.subscription), _unpack(metadata.user_data))
            for name, metadata in members.items()
        }
        topics = frozenset().union(*(each.topics for each in subscribers.values()))
        partitions = {topic: sorted(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        return {
            name: ConsumerProtocolMemberAssignment(_VERSION, _by_topic(given), b"")
            for name, given in balance(partitions, subscribers).items()
        }

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> Any:
        held = json.dumps(_by_topic(sorted(cls.held))).encode()
        return ConsumerProtocolMemberMetadata(_VERSION, list(topics), held)

    @classmethod
    def on_assignment(cls, assignment: Any) -> None:
        cls.held = frozenset(TopicPartition(*native) for native in assignment.partitions())


def _by_topic(given: Iterable[TopicPartition]) -> list[tuple[str, list[int]]]:
    found: dict[str, list[int]] = defaultdict(list)
    for topic, partition in given:
        found[topic].append(partition)
    return sorted(found.items())


def _unpack(held: bytes | None) -> frozenset[TopicPartition]:
    """What a member says it had; another member's word is a stranger's, so nonsense counts as nothing."""
    try:
        return frozenset(
            TopicPartition(str(topic), int(number))
            for topic, numbers in json.loads(held or b"[]")
            for number in numbers
        )
    except (ValueError, TypeError):
        return frozenset()
