"""Everything whose health is known, check by check and agent by agent, as the Health screen shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from archon_tui.filters import Fields
from archon_tui.models.lag import agent_lines, short
from archon_tui.text import State
from archon_tui.widgets.painted import Line, Piece
from core import units
from core.fleet import Member
from core.history.store import HistoryTotals
from core.telemetry import health
from core.telemetry.health import Report, Result

STATES = {
    health.State.OK: State.OK,
    health.State.DEGRADED: State.WARN,
    health.State.FAILED: State.FAIL,
}
WORDS = {State.OK: "ok", State.WARN: "degraded", State.FAIL: "failed", State.UNKNOWN: "unknown"}
SEVERITY = {state: rank for rank, state in enumerate((State.UNKNOWN, State.OK, State.WARN, State.FAIL))}


@dataclass(frozen=True, slots=True)
class HealthRow:
    """A check or an agent. `age_s` is how long ago it was looked at or spoke, `took_s` a check's run."""

    name: str
    kind: str
    state: State
    word: str
    text: str
    age_s: float | None
    took_s: float | None = None
    result: Result | None = None
    member: Member | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.name

    @property
    def piece(self) -> Piece:
        """`✗ failed`: glyph, word, colour."""
        return f"{self.state.glyph} {self.word}", self.state.style


FIELDS: Fields[HealthRow] = Fields(
    text=lambda row: f"{row.name} {row.text}",
    named={"state": lambda row: row.word, "kind": lambda row: row.kind},
)


def check_row(result: Result, since_s: float) -> HealthRow:
    """A check's result that was received `since_s` seconds ago."""
    state = STATES[result.state]
    text = result.error or result.detail or units.UNKNOWN
    age_s = float(int(result.age_s + since_s))
    return HealthRow(result.name, "check", state, WORDS[state], text, age_s, result.duration_s, result)


def agent_row(member: Member, since_s: float) -> HealthRow:
    """An agent's status that was read `since_s` seconds ago."""
    status = member.status
    heard = Member(status, float(int(member.age_s + since_s)))
    if heard.is_stale:
        state, word = State.WARN, "stale"
        text = f"speaks every {units.duration(status.interval_s)}: dead or cut off"
    elif status.blocked:
        state, word, text = State.FAIL, "blocked", status.blocked
    else:
        state, word = State.OK, "working" if status.in_flight_events else "idle"
        noun = "partition" if len(status.partitions) == 1 else "partitions"
        text = f"{len(status.partitions)} {noun}, {units.rate(status.files_per_s, ' files')}"
        if tripped := heard.left_alone:
            state, word, text = State.WARN, "degraded", f"leaves alone for now: {', '.join(tripped)}"
    return HealthRow(status.id, "agent", state, word, text, heard.age_s, member=heard)


def absent_row(name: str, text: str) -> HealthRow:
    """A backend that these settings do not use; `text` says which one brings it."""
    return HealthRow(name, "check", State.UNKNOWN, "off", text, None)


def history_row(totals: HistoryTotals | None, age_s: float | None, error: str | None) -> HealthRow:
    """How many deliveries are remembered, counted `age_s` seconds ago; `error` is why not since then."""
    state, text = State.WARN if error else State.OK, error or ""
    if totals is not None and not error:
        text = f"{totals.joined:,} deliveries known from both sides, {totals.waiting:,} from one"
        if totals.first is not None and totals.last is not None:
            first, last = (datetime.fromtimestamp(each, UTC) for each in (totals.first, totals.last))
            text = f"{text}, from {first:%Y-%m-%d} to {last:%Y-%m-%d}"
    age_s = None if age_s is None else float(int(age_s))
    return HealthRow("delivery history", "history", state, WORDS[state], text, age_s)


def rows(
    report: Report | None,
    report_s: float,
    fleet: Sequence[Member],
    fleet_s: float,
    others: Sequence[HealthRow] = (),
) -> tuple[HealthRow, ...]:
    """Checks in their order, `others`, agents by id; `report_s` and `fleet_s` are how old the two are."""
    checks = [check_row(result, report_s) for result in report.results] if report else []
    return (*checks, *others, *(agent_row(member, fleet_s) for member in fleet))


def headline(found: Sequence[HealthRow]) -> list[Line]:
    """The worst of the checks and how many agents are well."""
    checks = [row for row in found if row.result]
    agents = [row for row in found if row.kind == "agent"]
    line: list[Piece] = [(" ", "")]
    if checks:
        worst = max(checks, key=lambda row: SEVERITY[row.state])
        bad = [row.name for row in checks if row.state is not State.OK]
        words = f"every check of {len(checks)} passes" if not bad else f"look at {', '.join(bad)}"
        line += [worst.piece, (f" · {words}", "")]
    well = sum(row.state is State.OK for row in agents)
    if agents:
        style = "ok" if well == len(agents) else "warn"
        line += [(" · ", "dim"), (f"{well} of {len(agents)} agents well", style)]
    else:
        line += [(" · " if checks else "", "dim"), ("no agent speaks on the status topic", "dim")]
    return [line]


def detail(row: HealthRow) -> list[Line]:
    """A row in full, with what to do about it."""
    if row.member is not None:
        return [*_agent_head(row.member), *agent_lines(row.member)]
    result = row.result
    if result is None:
        return [[row.piece, (f"  {row.name}", "bold")], [(row.text, "")]]
    required = "required" if result.required else "not required: without it the agent still works"
    lines: list[Line] = [
        [row.piece, (f"  {row.name}", "bold"), (f"  {required}", "dim")],
        [(row.text, row.state.style if result.error else "")],
    ]
    if result.hint:
        lines.append([("→ ", "accent"), (result.hint, "")])
    lines.append(
        [("took ", "dim"), (units.duration(row.took_s), ""), ("   looked at ", "dim"), (_ago(row.age_s), "")]
    )
    return lines


def _agent_head(member: Member) -> list[Line]:
    status = member.status
    held = ", ".join(f"{short(held.topic)}/{held.partition}" for held in status.partitions) or "none"
    return [
        [(status.id, "bold"), (f"  {status.version} on {status.host}, pid {status.pid}", "dim")],
        [
            ("group      ", "dim"),
            (status.group, ""),
            (f", since {status.started_at:%Y-%m-%d %H:%M UTC}", "dim"),
        ],
        [("partitions ", "dim"), (held, "")],
        [
            ("files      ", "dim"),
            (f"{status.files_processed:,} done, {status.files_failed:,} failed", ""),
            (f", {status.dead_lettered:,} dead-lettered", "fail" if status.dead_lettered else ""),
        ],
    ]


def _ago(seconds: float | None) -> str:
    return units.UNKNOWN if seconds is None else f"{units.duration(seconds)} ago"


def document(row: HealthRow) -> dict[str, object]:
    """The shape that is exported."""
    return {
        "kind": row.kind,
        "name": row.name,
        "state": row.word,
        "text": row.text,
        "hint": row.result.hint if row.result else None,
        "age_seconds": row.age_s,
        "took_seconds": row.took_s,
    }
