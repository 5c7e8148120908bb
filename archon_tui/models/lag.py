"""The group's lag as the Lag screen shows it."""

from __future__ import annotations

from collections.abc import Sequence

from archon_tui.filters import Fields
from archon_tui.text import State, sparkline
from archon_tui.widgets.painted import Line, Piece
from core import units
from core.events.topics import PREFIX
from core.fleet import Member
from core.log.lag import GroupReport, Judgement, PartitionReport, Verdict

STATES = {
    Verdict.UNKNOWN: State.UNKNOWN,
    Verdict.OK: State.OK,
    Verdict.WARN: State.WARN,
    Verdict.STALL: State.FAIL,
    Verdict.STOP: State.FAIL,
    Verdict.REWIND: State.FAIL,
    Verdict.RESET: State.FAIL,
    Verdict.LOST: State.FAIL,
}
INFINITE = float("inf")
SEVERITY = {verdict: rank for rank, verdict in enumerate(Verdict)}
FIELDS: Fields[PartitionReport] = Fields(
    text=lambda row: where(row),
    named={
        "verdict": lambda row: row.judgement.verdict,
        "owner": lambda row: row.owner or "none",
        "topic": lambda row: row.place.topic,
    },
)


def short(topic: str) -> str:
    """A topic without the prefix that all of archon's have."""
    return topic.replace(f"{PREFIX}.tree.", "…").replace(f"{PREFIX}.", "…")


def where(row: PartitionReport) -> str:
    return f"{short(row.place.topic)}/{row.place.partition}"


def verdict(judgement: Verdict) -> Piece:
    """`✗ STALL`: glyph, word, colour."""
    state = STATES[judgement]
    return (f"{state.glyph} {judgement}", state.style)


def trend(judgement: Judgement) -> float | None:
    """Messages a second by which the lag grows."""
    if judgement.rate_in is None or judgement.rate_out is None:
        return None
    return judgement.rate_in - judgement.rate_out


def trend_piece(judgement: Judgement) -> Piece:
    """`▲ 12`, `▼ 3`, `0`; unknown after one look."""
    value = trend(judgement)
    if value is None:
        return (units.UNKNOWN, "dim")
    if abs(value) < 0.05:
        return ("0", "dim")
    figure = f"{abs(value):,.0f}" if abs(value) >= 10 else f"{abs(value):.1f}"
    return (f"▲ {figure}", "warn") if value > 0 else (f"▼ {figure}", "ok")


def history(row: PartitionReport, width: int = 10) -> str:
    """The lag of the last minutes in `width` levels, each the largest of its part."""
    values = row.history
    if len(values) <= width:
        return sparkline(values, width)
    step = len(values) / width
    return sparkline(
        [max(values[int(place * step) : int((place + 1) * step)]) for place in range(width)], width
    )


def skew(report: GroupReport) -> float | None:
    """The largest lag over the mean of all; None where nothing waits or there is nothing to compare."""
    lags = [row.place.lag for row in report.partitions]
    waiting = sum(lags)
    return max(lags) * len(lags) / waiting if waiting and len(lags) > 1 else None


def drain_text(row: PartitionReport) -> str:
    """Time until nothing waits; `–` where nothing does."""
    return units.duration(row.judgement.drain_s) if row.place.lag else units.UNKNOWN


def drain_s(report: GroupReport) -> float | None:
    """Seconds until the slowest partition is drained; None where unknown."""
    drains = [row.judgement.drain_s for row in report.partitions if row.place.lag]
    if not drains:
        return 0.0 if report.partitions else None
    return (
        None
        if any(drain is None for drain in drains)
        else max(drain for drain in drains if drain is not None)
    )


def group_lines(
    report: GroupReport, link_lifetime_s: float | None, fleet: Sequence[Member] = ()
) -> list[Line]:
    """Verdict, sentence, totals, the warning of links that die before they are read, and what to do next."""
    drain = drain_s(report)
    uneven = skew(report)
    lines: list[Line] = [
        [
            (" ", ""),
            (report.group, "bold"),
            ("   ", ""),
            verdict(report.verdict),
            ("  ", ""),
            (_shortened(report.why), ""),
        ],
        [
            (" lag ", "dim"),
            (f"{report.lag:,}", "bold"),
            ("   drain ", "dim"),
            (units.duration(drain) if report.lag else units.UNKNOWN, "fail" if drain == INFINITE else ""),
            ("   skew ", "dim"),
            (units.UNKNOWN if uneven is None else f"{uneven:.1f}×", "warn" if uneven and uneven > 3 else ""),
        ],
    ]
    if link_lifetime_s is not None:
        late = drain is not None and drain > link_lifetime_s
        text = f"{units.duration(link_lifetime_s)}" + (": shorter than the drain" if late else "")
        lines[1] = [
            *lines[1],
            ("   links live ", "dim"),
            (("! " if late else "") + text, "fail" if late else ""),
        ]
    if cause := next_line(report, fleet):
        lines.append(cause)
    return lines


def next_line(report: GroupReport, fleet: Sequence[Member]) -> Line | None:
    """The cause of the verdict where it is known, and the screen that goes there; None where all is well."""
    if report.verdict in (Verdict.OK, Verdict.UNKNOWN):
        return None
    ours = [each for each in fleet if each.status.group == report.group]
    worst = max(report.partitions, key=lambda row: (SEVERITY[row.judgement.verdict], row.place.lag))
    owner = next((each for each in ours if each.status.id == worst.owner), None)
    health: Piece = (" next: 8 Health  ", "accent")
    if all(each.is_stale for each in ours):
        gone = ", ".join(f"{each.status.id} was last heard {units.duration(each.age_s)} ago" for each in ours)
        return [health, (gone or "no agent of the group speaks: archon-agent run starts one", "warn")]
    if owner is None:
        return [health, (f"no live agent has {where(worst)}", "warn")]
    status = owner.status
    circuits = [name for name, circuit in sorted(status.circuits.items()) if circuit != "closed"]
    if status.blocked:
        return [health, (f"{status.id} ✗ blocked: {status.blocked}", "fail")]
    if circuits:
        return [health, (f"{status.id} ✗ does without {', '.join(circuits)}", "fail")]
    if status.last_errors:
        last = status.last_errors[-1]
        said = f"{status.id} said at {last.at:%H:%M:%S}: {last.message}"
        return [(" next: 7 Events  ", "accent"), (said, "fail")]
    busy = f"{status.in_flight_events:,} events in hand, {units.rate(status.files_per_s, ' files')}"
    return [health, (f"{status.id} {busy}", "")]


def partition_lines(row: PartitionReport, fleet: Sequence[Member]) -> list[Line]:
    """One partition: its verdict, who has it, and what that agent says of itself."""
    place, judgement = row.place, row.judgement
    lines: list[Line] = [
        [(where(row), "bold")],
        [verdict(judgement.verdict), (f"  {judgement.why}", "")],
        [
            ("committed  ", "dim"),
            (units.count(place.committed), ""),
            (" of ", "dim"),
            (f"{place.end:,}", ""),
            ("   oldest unread ", "dim"),
            (units.duration(place.lag_seconds) if place.lag else units.UNKNOWN, ""),
        ],
        [
            ("in, out    ", "dim"),
            (f"{units.rate(judgement.rate_in)}, {units.rate(judgement.rate_out)}", ""),
            ("   drain ", "dim"),
            (drain_text(row), ""),
        ],
    ]
    member = next((each for each in fleet if each.status.id == row.owner), None)
    if row.owner is None:
        known = any(each.status.group for each in fleet)
        text = "no agent has it" if known else "no agent of the group speaks on the status topic"
        lines.append([("owner      ", "dim"), (text, "warn" if place.lag else "dim")])
    else:
        lines.append([("owner      ", "dim"), (row.owner, "")])
    if member is not None:
        lines += agent_lines(member)
        lines += [[], [("8 Health shows all agents", "dim")]]
    return lines


def agent_state(member: Member) -> Piece:
    """`● working`, `◌ stale`, `✗ blocked`: glyph, word, colour."""
    if member.is_stale:
        return ("◌ stale", "warn")
    if member.status.blocked:
        return ("✗ blocked", "fail")
    return ("● working", "ok") if member.status.in_flight_events else ("✓ idle", "ok")


def agent_lines(member: Member) -> list[Line]:
    """What an agent says of itself."""
    status = member.status
    lines: list[Line] = [
        [("says       ", "dim"), agent_state(member), (f" {units.duration(member.age_s)} ago", "dim")],
        [
            ("in flight  ", "dim"),
            (f"{status.in_flight_events:,} events, {units.size(status.in_flight_bytes)}", ""),
        ],
        [("moved on   ", "dim"), (f"{units.duration(status.progressed_s)} before", "")],
        [("rate       ", "dim"), (units.rate(status.files_per_s, " files"), "")],
    ]
    if status.blocked:
        lines.append([("blocked    ", "dim"), (status.blocked, "fail")])
    for name, circuit in sorted(status.circuits.items()):
        if circuit != "closed":
            lines.append([("circuit    ", "dim"), (f"{name} {circuit}", "fail")])
    lines += [
        [(f"{error.at:%H:%M:%S}   ", "dim"), (error.message, "fail")] for error in status.last_errors[-3:]
    ]
    return lines


def _shortened(text: str) -> str:
    return text.replace(f"{PREFIX}.tree.", "…")
