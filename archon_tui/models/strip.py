"""The live strip of large terminals: lag, agents, caches and the run in one line, on every screen."""

from __future__ import annotations

from collections.abc import Sequence

from archon_tui.models.lag import trend, verdict
from archon_tui.models.run import RunModel, RunState
from archon_tui.text import sparkline
from archon_tui.watch import Seen
from archon_tui.widgets.bar import Part
from core import units
from core.fleet import Member
from core.log.lag import GroupReport

SPARK = 20
_GAP = Part("  │  ", "dim")


def strip(seen: Seen | None, run: tuple[str, RunState, RunModel] | None, *, stale: bool) -> list[Part]:
    """What is known; a click goes to the screen that says more. A `stale` look at the log is dimmed."""
    groups = [_run(*run)] if run else []
    if seen is None:
        groups.insert(0, [Part("lag –   agents –", "dim", "go.lag")])
    else:
        ours = [each for each in seen.fleet if each.status.group == seen.report.group]
        told = [_lag(seen.report), _agents(ours), _caches(ours)]
        groups = [*([[_dimmed(part) for part in group] for group in told] if stale else told), *groups]
    parts = [Part(" ")]
    for place, group in enumerate(groups):
        parts += [_GAP, *group] if place else group
    return parts


def _dimmed(part: Part) -> Part:
    return part._replace(style="dim")


def _lag(report: GroupReport) -> list[Part]:
    word, style = verdict(report.verdict)
    known = [trend(row.judgement) for row in report.partitions]
    grows = sum(each for each in known if each is not None)
    arrow = f" ▲ {grows:,.1f}/s" if grows >= 0.05 else f" ▼ {-grows:,.1f}/s" if grows <= -0.05 else ""
    return [
        Part(f"lag {report.lag:,}{arrow} ", "bold" if report.lag else "dim", "go.lag"),
        Part(f"{sparkline(total_history(report), SPARK)} ", "accent", "go.lag"),
        Part(word, style, "go.lag"),
    ]


def total_history(report: GroupReport) -> list[float | None]:
    """The lag of all partitions together, look by look, as far back as all were looked at."""
    histories = [row.history for row in report.partitions]
    shortest = min((len(history) for history in histories), default=0)
    return [
        float(sum(history[len(history) - shortest + place] for history in histories))
        for place in range(shortest)
    ]


def _agents(ours: Sequence[Member]) -> list[Part]:
    live = [each for each in ours if not each.is_stale]
    if not ours:
        return [Part("no agent speaks", "dim", "go.health")]
    rate = sum(each.status.files_per_s for each in live)
    blocked = sum(each.status.blocked is not None for each in live)
    parts = [Part(f"agents {len(live):,}  {units.rate(rate, ' files')}", "", "go.health")]
    if gone := len(ours) - len(live):
        parts.append(Part(f"  ◌ {gone:,} stale", "warn", "go.health"))
    if blocked:
        parts.append(Part(f"  ✗ {blocked:,} blocked", "fail", "go.health"))
    if letters := sum(each.status.dead_lettered for each in ours):
        parts.append(Part(f"  ✗ {letters:,} dead letters", "fail", "go.events"))
    return parts


def _caches(ours: Sequence[Member]) -> list[Part]:
    hits = misses = 0
    for member in ours:
        for cache in member.status.caches.values():
            hits, misses = hits + cache.hits, misses + cache.misses
    return [Part(f"cache {units.percent(hits, hits + misses)} hits", "dim", "go.cache")]


def _run(name: str, state: RunState, model: RunModel) -> list[Part]:
    stages = model.stages()
    at = next((stage for stage in stages if stage.ended_s is None), stages[-1])
    style = "fail" if state is RunState.FAILED else "ok" if state is RunState.DONE else "accent"
    parts = [Part(f"run {name} ", "", "go.run"), Part(str(state), style, "go.run")]
    if not state.is_over:
        parts.append(Part(f"  {at.name} {units.percent(at.done, at.total)}", "", "go.run"))
    return parts
