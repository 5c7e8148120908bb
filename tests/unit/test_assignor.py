"""Every topic is shared out evenly, and as little as possible moves."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from core.log.base import TopicPartition
from core.log.kafka.assignor import Subscriber, balance

TOPICS = ("v1", "v2", "other")
PARTITIONS = st.dictionaries(st.sampled_from(TOPICS), st.integers(1, 12).map(lambda n: list(range(n))))
BEFORE = st.frozensets(st.builds(TopicPartition, st.sampled_from(TOPICS), st.integers(0, 12)), max_size=12)
SUBSCRIBERS = st.dictionaries(
    st.sampled_from([f"member-{n}" for n in range(5)]),
    st.builds(Subscriber, st.frozensets(st.sampled_from(TOPICS), min_size=1), BEFORE),
    min_size=1,
)


@given(PARTITIONS, SUBSCRIBERS)
def test_every_partition_has_one_reader_and_every_topic_is_even(
    partitions: dict[str, list[int]], members: dict[str, Subscriber]
) -> None:
    shared = balance(partitions, members)
    given_out = Counter(where for mine in shared.values() for where in mine)
    read = {topic for member in members.values() for topic in member.topics} & partitions.keys()
    assert given_out == Counter(TopicPartition(topic, n) for topic in read for n in partitions[topic])
    for topic in read:
        readers = [name for name, member in members.items() if topic in member.topics]
        counts = [sum(where.topic == topic for where in shared[name]) for name in readers]
        assert max(counts) - min(counts) <= 1
    for name, mine in shared.items():
        assert {where.topic for where in mine} <= members[name].topics


@given(PARTITIONS, SUBSCRIBERS)
def test_nothing_moves_while_nothing_changes(
    partitions: dict[str, list[int]], members: dict[str, Subscriber]
) -> None:
    first = balance(partitions, members)
    again = balance(
        partitions, {name: Subscriber(each.topics, frozenset(first[name])) for name, each in members.items()}
    )
    assert {name: set(mine) for name, mine in again.items()} == {
        name: set(mine) for name, mine in first.items()
    }


def test_an_idle_topic_does_not_unbalance_a_busy_one() -> None:
    both = frozenset({"v1", "v2"})
    numbers = list(range(6))
    had = {
        "a": frozenset(TopicPartition("v2", n) for n in (0, 1, 2, 3)),
        "b": frozenset({TopicPartition("v2", 4), *(TopicPartition("v1", n) for n in (0, 1, 2))}),
        "c": frozenset({TopicPartition("v2", 5), *(TopicPartition("v1", n) for n in (3, 4, 5))}),
    }
    shared = balance(
        {"v1": numbers, "v2": numbers}, {name: Subscriber(both, before) for name, before in had.items()}
    )
    for topic in both:
        assert [sum(where.topic == topic for where in shared[name]) for name in "abc"] == [2, 2, 2]


def test_only_what_must_moves_when_a_member_goes() -> None:
    topics = frozenset({"v2"})
    numbers = list(range(6))
    before = balance({"v2": numbers}, {name: Subscriber(topics) for name in "abc"})
    after = balance({"v2": numbers}, {name: Subscriber(topics, frozenset(before[name])) for name in "ab"})
    for name in "ab":
        assert set(before[name]) <= set(after[name])
        assert len(after[name]) == 3
