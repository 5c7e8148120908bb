"""Lag: what the screen makes of a judged group."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from archon_tui.models.lag import (
    agent_state,
    drain_s,
    group_lines,
    history,
    partition_lines,
    skew,
    trend_piece,
    verdict,
)
from archon_tui.widgets.painted import Line
from core.events.agent import AgentStatus
from core.fleet import Member
from core.log.base import PartitionLag, TopicPartition
from core.log.lag import GroupReport, Judgement, LagWindow, Verdict

AT = datetime(2026, 1, 1, tzinfo=UTC)
INFINITE = float("inf")


def group(
    *looks: tuple[float, Sequence[tuple[int, int]]], owners: dict[int, str] | None = None
) -> GroupReport:
    """Judged from looks of (seconds, (committed, end) by partition)."""
    window = LagWindow("g")
    for at, parts in looks:
        window.add([PartitionLag("t", n, done, 0, end, None) for n, (done, end) in enumerate(parts)], at)
    return window.report(
        None if owners is None else {TopicPartition("t", n): name for n, name in owners.items()}
    )


def member(**status: object) -> Member:
    made = {"id": "a-1", "version": "1", "host": "h", "pid": 7, "group": "g", "interval_s": 5.0, **status}
    return Member(AgentStatus.model_validate({**made, "started_at": AT, "at": AT}), 1.0)


def said(lines: Sequence[Line]) -> str:
    return "\n".join("".join(text for text, _ in line) for line in lines)


@pytest.mark.parametrize(
    ("rates", "shown"),
    [
        ((None, 3.0), ("–", "dim")),
        ((3.0, None), ("–", "dim")),
        ((3.0, 3.01), ("0", "dim")),
        ((1212.0, 0.0), ("▲ 1,212", "warn")),
        ((0.0, 2.5), ("▼ 2.5", "ok")),
    ],
)
def test_the_change_is_what_comes_in_less_what_goes_out(
    rates: tuple[float | None, float | None], shown: tuple[str, str]
) -> None:
    assert trend_piece(Judgement(Verdict.OK, "", *rates)) == shown


def test_every_verdict_has_glyph_word_and_colour() -> None:
    assert {each: verdict(each)[0].split() for each in Verdict} == {
        Verdict.UNKNOWN: ["–", "UNKNOWN"],
        Verdict.OK: ["✓", "OK"],
        Verdict.WARN: ["!", "WARN"],
        Verdict.STALL: ["✗", "STALL"],
        Verdict.STOP: ["✗", "STOP"],
        Verdict.REWIND: ["✗", "REWIND"],
    }


def test_the_group_drains_when_its_slowest_partition_does() -> None:
    assert drain_s(group()) is None
    assert drain_s(group((0, [(5, 5)]))) == 0
    assert drain_s(group((0, [(0, 100), (0, 50)]), (1, [(10, 100), (10, 50)]))) == 9
    assert drain_s(group((0, [(0, 100), (0, 50)]), (1, [(10, 100), (0, 50)]))) == INFINITE
    assert drain_s(group((0, [(0, 100)]))) is None


def test_skew_compares_the_largest_with_the_mean() -> None:
    assert skew(group((0, [(0, 30), (0, 10)]))) == 1.5
    assert skew(group((0, [(0, 30)]))) is None
    assert skew(group((0, [(5, 5), (5, 5)]))) is None


def test_links_that_die_before_they_are_read_are_told_of() -> None:
    slow = group((0, [(0, 100)]), (1, [(1, 100)]))
    assert "! 1 min: shorter than the drain" in said(group_lines(slow, 60.0))
    assert "shorter" not in said(group_lines(slow, 3600.0))
    assert "links" not in said(group_lines(slow, None))


def test_the_sparkline_keeps_a_peak_however_short() -> None:
    lags = [0] * 100
    lags[50] = 8
    report = group(*((float(at), [(0, lag)]) for at, lag in enumerate(lags)))
    shown = history(report.partitions[0], 10)
    assert (len(shown), shown.count("█"), shown.index("█")) == (10, 1, 5)


def test_a_partition_names_its_agent_and_what_that_says() -> None:
    report = group((0, [(3, 9)]), (96, [(3, 1207)]), owners={0: "a-1"})
    error = {"at": AT, "message": "pool stuck on [gen]/huge.c"}
    shown = said(partition_lines(report.partitions[0], [member(blocked="pool", last_errors=[error])]))
    assert "✗ STALL  has not moved for 96 s while 1,204 wait" in shown
    assert "owner      a-1" in shown
    assert "✗ blocked" in shown
    assert "00:00:00   pool stuck on [gen]/huge.c" in shown


def test_a_partition_without_an_agent_says_so() -> None:
    report = group((0, [(3, 9)]), owners={})
    assert "no agent has it" in said(partition_lines(report.partitions[0], [member()]))
    assert "no agent of the group speaks" in said(partition_lines(group((0, [(3, 9)])).partitions[0], []))


def test_an_agents_state_is_the_worst_that_is_known() -> None:
    assert agent_state(member())[0] == "✓ idle"
    assert agent_state(member(in_flight_events=1))[0] == "● working"
    assert agent_state(member(in_flight_events=1, blocked="x"))[0] == "✗ blocked"
    assert agent_state(Member(member().status, 16.0))[0] == "◌ stale"
