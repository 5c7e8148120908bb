"""Verdicts on lag: the rules, and that a window keeps what they need and no more."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.log.base import PartitionLag, TopicPartition
from core.log.lag import LagWindow, Sample, Verdict, judge


def samples(*looks: tuple[float, int | None, int]) -> list[Sample]:
    """From (seconds, committed, end)."""
    return [Sample(at, committed, end, end - (committed or 0)) for at, committed, end in looks]


def place(committed: int | None, end: int, partition: int = 0) -> PartitionLag:
    return PartitionLag("t", partition, committed, 0, end, None)


@pytest.mark.parametrize(
    ("looks", "verdict", "why"),
    [
        ([(0, 5, 5)], Verdict.OK, "nothing waits"),
        ([(0, 3, 5)], Verdict.UNKNOWN, "2 wait; one look does not show whether it moves"),
        ([(0, 3, 5), (2, 3, 5)], Verdict.WARN, "has not moved in the 2 s watched while 2 wait"),
        ([(0, 3, 5), (96, 3, 1207)], Verdict.STALL, "has not moved for 96 s while 1,204 wait"),
        ([(0, None, 5), (40, None, 5)], Verdict.STALL, "has not moved for 40 s while 5 wait"),
        (
            [(0, 1, 9), (5, 2, 9), (45, 2, 9)],
            Verdict.STOP,
            "committed 40 s ago for the last time while 7 wait",
        ),
        ([(0, 900, 1000), (1, 400, 1000)], Verdict.REWIND, "was set back from 900 to 400"),
        ([(0, 1, 9), (1, 2, 12), (2, 3, 15)], Verdict.WARN, "moves, but 4 more wait than 2 s ago"),
        ([(0, 0, 100), (1, 10, 100), (2, 20, 100)], Verdict.OK, "drains in 8 s"),
        ([(0, 0, 100), (1, 10, 110)], Verdict.OK, "moves; 100 wait"),
        ([(0, 5, 5), (1, 5, 9)], Verdict.OK, "kept up within the last minute"),
    ],
)
def test_the_verdict_follows_the_rules(
    looks: list[tuple[float, int | None, int]], verdict: Verdict, why: str
) -> None:
    judgement = judge(samples(*looks))
    assert (judgement.verdict, judgement.why) == (verdict, why)


def test_a_partition_without_an_agent_is_stopped_at_once() -> None:
    assert judge(samples((0, 3, 5)), abandoned=True).verdict is Verdict.STOP
    assert judge(samples((0, 5, 5)), abandoned=True).verdict is Verdict.OK


def test_rates_are_messages_a_second() -> None:
    judgement = judge(samples((0, 0, 100), (10, 50, 120)))
    assert (judgement.rate_in, judgement.rate_out) == (2.0, 5.0)
    assert judgement.drain_s == pytest.approx(70 / 3)


def test_a_lag_that_does_not_shrink_never_drains() -> None:
    assert judge(samples((0, 0, 100), (10, 20, 120))).drain_s == math.inf


def test_rates_look_at_the_window_only() -> None:
    judgement = judge(samples((0, 0, 0), (100, 1000, 1000), (160, 1060, 1100)), window_s=60)
    assert judgement.rate_out == 1.0


@given(
    st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=30),
    st.booleans(),
)
def test_only_a_step_back_is_a_rewind_and_no_lag_is_ok(
    steps: list[tuple[float, int, int]], abandoned: bool
) -> None:
    at, committed, end = 0.0, 0, 0
    looks = []
    for seconds, moved, written in steps:
        at, end = at + seconds, end + written
        committed = min(end, committed + moved)
        looks.append((at, committed, end))
    judgement = judge(samples(*looks), abandoned=abandoned)
    assert judgement.verdict is not Verdict.REWIND
    if looks[-1][1] == looks[-1][2]:
        assert judgement.verdict is Verdict.OK
    assert judgement.drain_s is None or judgement.drain_s >= 0


def test_the_group_is_as_bad_as_its_worst_partition() -> None:
    window = LagWindow("g")
    for at in (0.0, 40.0):
        window.add([place(5, 5, 0), place(3, 9, 1)], at)
    report = window.report()
    assert (report.verdict, report.lag) == (Verdict.STALL, 6)
    assert report.why == "t/1 has not moved for 40 s while 6 wait"
    assert [part.judgement.verdict for part in report.partitions] == [Verdict.OK, Verdict.STALL]


def test_owners_name_the_agent_and_their_absence_stops() -> None:
    window = LagWindow("g")
    window.add([place(3, 9, 0), place(3, 9, 1)], 0.0)
    report = window.report({TopicPartition("t", 0): "agent-1"})
    assert [part.owner for part in report.partitions] == ["agent-1", None]
    assert [part.judgement.verdict for part in report.partitions] == [Verdict.UNKNOWN, Verdict.STOP]


def test_history_is_bounded_and_partitions_that_are_gone_are_forgotten() -> None:
    window = LagWindow("g", history_s=10)
    for at in range(100):
        window.add([place(0, at, 0), place(0, 1, 1)], float(at))
    window.add([place(0, 100, 0)], 100.0)
    (part,) = window.report().partitions
    assert part.history == tuple(range(90, 101))


def test_a_group_that_committed_nothing_is_unknown() -> None:
    window = LagWindow("g")
    window.add([], 0.0)
    assert window.report().verdict is Verdict.UNKNOWN


def test_events_that_were_removed_unread_are_the_worst_that_can_be_said() -> None:
    lost = judge([Sample(0, 10, 50, 20, 30)])
    assert lost.verdict is Verdict.LOST
    assert "20 events are gone unread" in lost.why
    assert "--force-reindex" in lost.why
    assert judge([Sample(0, 60, 50, 0, 0)]).verdict is Verdict.RESET
    assert max(Verdict, key=list(Verdict).index) is Verdict.LOST
