"""The age of the oldest unread message, bracketed by asking for offsets by time."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.log.base import TopicPartition
from core.log.kafka.times import ages

WHERE = TopicPartition("t", 0)


class Timeline:
    """A partition whose message `n` was written at `times[n]`; counts the requests it gets."""

    def __init__(self, times_ms: list[int]) -> None:
        self.times = times_ms
        self.requests = 0

    async def ask(
        self, times_ms: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, tuple[int, int] | None]:
        self.requests += 1
        offset = bisect_left(self.times, times_ms[WHERE])
        return {WHERE: (offset, self.times[offset]) if offset < len(self.times) else None}


def age(timeline: Timeline, oldest_unread: int, now_ms: int) -> float:
    found = asyncio.run(ages({WHERE: (oldest_unread, len(timeline.times))}, now_ms, timeline.ask))
    return found[WHERE]


def test_the_first_message_of_a_partition_is_found_at_once() -> None:
    timeline = Timeline([1_000, 2_000, 3_000])
    assert age(timeline, 0, 11_000) == 10.0
    assert timeline.requests == 1


@given(
    st.lists(st.integers(1, 3_600_000), min_size=1, max_size=300),
    st.data(),
)
@settings(max_examples=200)
def test_few_requests_bracket_the_age(gaps_ms: list[int], data: st.DataObject) -> None:
    times, at = [], 1_000_000
    for gap in gaps_ms:
        at += gap
        times.append(at)
    timeline = Timeline(times)
    oldest = data.draw(st.integers(0, len(times) - 1))
    now = times[-1] + data.draw(st.integers(0, 3_600_000))
    found = age(timeline, oldest, now)
    exact = (now - times[oldest]) / 1000
    assert timeline.requests <= 9
    # Four halvings are among the eight rounds: off by at most a sixteenth of what is in the log.
    assert found == pytest.approx(exact, abs=(now - times[0]) / 1000 / 16 + 1)


def test_evenly_written_messages_are_found_to_a_second() -> None:
    timeline = Timeline(list(range(0, 7 * 86_400_000, 60_000)))
    assert age(timeline, 5_000, 7 * 86_400_000) == pytest.approx((7 * 86_400 - 5_000 * 60), abs=61)


def test_a_partition_whose_messages_all_vanished_has_no_age() -> None:
    timeline = Timeline([])
    assert asyncio.run(ages({WHERE: (0, 5)}, 1_000, timeline.ask)) == {}
