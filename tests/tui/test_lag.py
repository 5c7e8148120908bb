"""Lag: what the screen makes of a judged group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest

from archon_tui.models.lag import (
    agent_state,
    drain_s,
    group_lines,
    history,
    next_line,
    partition_lines,
    skew,
    trend_piece,
    verdict,
)
from archon_tui.models.run import RunModel, RunState
from archon_tui.models.strip import strip, total_history
from archon_tui.watch import Seen
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
        Verdict.RESET: ["✗", "RESET"],
        Verdict.LOST: ["✗", "LOST"],
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


def aged(status: Mapping[str, object]) -> Member:
    """A member whose status is as old as `at_age` says."""
    others = {name: value for name, value in status.items() if name != "at_age"}
    return Member(member(**others).status, float(str(status.get("at_age", 1))))


@pytest.mark.parametrize(
    ("status", "said_next"),
    [
        (None, "8 Health  no agent of the group speaks"),
        ({"at_age": 96.0}, "8 Health  a-1 was last heard 1 min 36 s ago"),
        ({"blocked": "dead letter: refused"}, "8 Health  a-1 ✗ blocked: dead letter: refused"),
        ({"circuits": {"object_storage s3": "open"}}, "8 Health  a-1 ✗ does without object_storage s3"),
        (
            {"last_errors": [{"at": AT, "message": "a.py: it differs"}]},
            "7 Events  a-1 said at 00:00:00: a.py",
        ),
        ({"in_flight_events": 3, "files_per_s": 12.0}, "8 Health  a-1 3 events in hand, 12 files/s"),
    ],
)
def test_the_next_step_names_the_cause_and_the_screen(
    status: dict[str, object] | None, said_next: str
) -> None:
    stalled = group((0, [(0, 5)]), (96, [(0, 9)]), owners=None if status is None else {0: "a-1"})
    assert stalled.verdict is Verdict.STALL
    fleet = [] if status is None else [aged(status)]
    line = next_line(stalled, fleet)
    assert line
    assert said_next in said([line])
    assert next_line(group((0, [(5, 5)]), (1, [(5, 5)])), fleet) is None


def test_a_partition_that_no_live_agent_has_is_named() -> None:
    stalled = group((0, [(0, 5), (5, 5)]), (96, [(0, 9), (5, 5)]), owners={1: "a-1"})
    line = next_line(stalled, [member()])
    assert line
    assert "no live agent has t/0" in said([line])


def test_the_live_strip_says_what_is_known_and_where_to_look() -> None:
    unknown = strip(None, None, stale=True)
    assert "lag –   agents –" in "".join(part.text for part in unknown)
    stalled = group((0, [(0, 5), (3, 3)]), (96, [(0, 9), (3, 3)]))
    seen = Seen(stalled, (member(files_per_s=12.0, dead_lettered=2),), ("g",))
    model = RunModel({"inline": 4, "discovered": 4})
    parts = strip(seen, ("shop", RunState.RUNNING, model), stale=False)
    text = "".join(part.text for part in parts)
    for piece in (
        "lag 9",
        "✗ STALL",
        "agents 1  12 files/s",
        "✗ 2 dead letters",
        "cache – hits",
        "run shop running",
    ):
        assert piece in text
    assert {part.action for part in parts} == {None, "go.lag", "go.health", "go.events", "go.cache", "go.run"}
    dimmed = strip(seen, None, stale=True)
    assert {part.style for part in dimmed if part.action} == {"dim"}


def test_the_strip_adds_up_what_all_partitions_had_waiting() -> None:
    assert total_history(group((0, [(0, 5), (0, 1)]), (1, [(0, 9), (1, 1)]))) == [6.0, 9.0]
    assert total_history(group()) == []
