"""`archon-agent plan`: every file with its strategy and the reason, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from archon_agent import console
from archon_agent.help import App
from archon_agent.options import JsonFlag, Loaded, Verbose, with_settings
from archon_agent.running import run_now
from archon_agent.target import with_target
from core import units
from core.deletions import MassDeletionHeld
from core.events.common import ContentStrategy
from core.safety.display import display
from core.settings.operations import CostSettings
from core.telemetry.cost import Usage, estimate, expected, price, total, usd

if TYPE_CHECKING:
    from core.assembly.guarding import ProjectGuard
    from core.planner import PlannedFile, Planner
    from core.repository.facts import Repository

app = App(help="Show what an ingestion would publish, file by file.")
LETTERS = {"inline": "I", "object_storage": "O", "git_reference": "G"}


@app.command(
    examples=(
        "archon-agent plan .",
        "archon-agent plan . --explain --json",
    )
)
@with_settings("publish", "storage", "git", "log", "kafka", "cost", "selector")
@with_target
def plan(
    loaded: Loaded,
    target: Any,
    explain: Annotated[
        bool, typer.Option("--explain", help="say for every file what was feasible and who chose")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="compare the rules' choices with the model's")
    ] = False,
    as_json: JsonFlag = False,
    verbose: Verbose = 0,
) -> None:
    """Show every file with its strategy and why; `ingest` publishes this same plan."""
    from archon_agent.logs import configure

    configure(verbose)
    document = run_now(lambda: _plan(loaded, target))
    if as_json:
        console.print_json(document)
        return
    _show(document)
    if explain:
        _explain(document)
    if compare:
        _compare(document)


async def _plan(loaded: Loaded, target: Any) -> dict[str, Any]:
    from core.assembly.publishing import ingestion
    from core.dry_run import dry_run

    files: list[dict[str, Any]] = []

    def collect(item: PlannedFile) -> None:
        files.append(
            {
                "path": item.facts.path,
                "size_bytes": item.facts.entry.known_size,
                "language": item.facts.language,
                "encoding": item.facts.encoding,
                "strategy": item.strategy,
                "reason": item.why,
                "encoded_bytes": item.encoded_size,
                "unchanged": item.unchanged,
                **explained(item, job.planner),
            }
        )

    async with ingestion(loaded.settings, target, show_unchanged=True) as job:
        deletions = await _deletions(job.guard, job.context.repository)
        summary = await dry_run(job.planner.stream(), job.project_name, job.rules, each=collect)
        deletions += await job.guard.unpublishable(summary.skipped)
        usage = estimate(summary.by_strategy, await job.costs.cpu_s_per_byte())
        return {
            **summary.to_json(),
            "files_to_delete": deletions,
            "max_message_bytes": job.rules.max_batch_bytes,
            "cost": estimated_cost(usage, loaded.settings.cost),
            "selector": {
                "name": job.planner.selector.name,
                "model": job.planner.selector.model_id,
                "reason": job.planner.selector.reason,
            },
            "compare": compared(files, loaded.settings.cost),
            "files": files,
        }


async def _deletions(guard: ProjectGuard, repository: Repository) -> int:
    """How many files an ingestion would delete, also where it would be held back for that."""
    try:
        return await guard.check(repository)
    except MassDeletionHeld as held:
        console.say(f"an ingestion would be held back: {held}")
        return held.deletions


def estimated_cost(usage: dict[ContentStrategy, Usage], rates: CostSettings) -> dict[str, Any]:
    """The published shape of a plan's cost: an upper bound in dollars, by strategy and in all."""
    return {
        "by_strategy": {name: price(one, rates).to_json() for name, one in usage.items()},
        "total": price(total(usage.values()), rates).to_json(),
    }


def explained(item: PlannedFile, planner: Planner) -> dict[str, Any]:
    """Who chose a file's strategy and why not another; `rules` is what the rules choose."""
    first = item.choices[0]
    verdicts = planner.verdicts(item.facts)
    return {
        "selector": first.selector,
        "confidence": first.confidence,
        "expected_s": dict(first.scores),
        "verdicts": {name: {"feasible": each.feasible, "why": each.why} for name, each in verdicts.items()},
        "rules": planner.ruled(item.facts),
    }


def compared(files: list[dict[str, Any]], rates: CostSettings) -> dict[str, Any]:
    """The plan against the rules' one: files that differ, and the difference expected in time and dollars.

    `seconds` and the dollars are the plan's less the rules'; seconds only of files the model knows.
    """
    moved = [file for file in files if file["strategy"] != file["rules"] and not file["unchanged"]]
    known = [file for file in moved if file["rules"] in file["expected_s"]]
    seconds = sum(file["expected_s"][file["strategy"]] - file["expected_s"][file["rules"]] for file in known)

    def usage(which: str) -> Usage:
        return total(expected(ContentStrategy(file[which]), 1, file["size_bytes"] or 0) for file in moved)

    chosen, ruled = price(usage("strategy"), rates), price(usage("rules"), rates)
    return {
        "files": len(moved),
        "seconds": seconds if known else None,
        "usd": sum(chosen.known.values()) - sum(ruled.known.values()),
    }


def _explain(document: dict[str, Any]) -> None:
    for file in document["files"]:
        console.out.print(
            console.text(f"{display(file['path'])}: {file['strategy']}, chosen by {file['selector']}")
        )
        for name, verdict in file["verdicts"].items():
            mark = "✓" if verdict["feasible"] else "✗"
            cost = file["expected_s"].get(name)
            figure = "" if cost is None else f", expected {units.precise(cost)}"
            console.out.print(console.text(f"  {mark} {name}: {display(verdict['why'])}{figure}"))
        if file["confidence"] is not None:
            console.out.print(f"  confidence {file['confidence']:.0%}")


def _compare(document: dict[str, Any]) -> None:
    selector, difference = document["selector"], document["compare"]
    if selector["model"] is None:
        console.say(f"the rules choose: {selector['reason']}")
        return
    rows = [
        (
            file["path"],
            *(_with_cost(name, file["expected_s"].get(name)) for name in (file["rules"], file["strategy"])),
        )
        for file in document["files"]
        if file["rules"] != file["strategy"] and not file["unchanged"]
    ]
    if rows:
        console.out.print(console.table(("FILE", "RULES", f"MODEL {selector['model']}"), rows))
    seconds, dollars = difference["seconds"], difference["usd"]
    time = "an unknown time" if seconds is None else _more_or_less(seconds, units.precise(abs(seconds)))
    money = _more_or_less(dollars, usd(abs(dollars)))
    console.out.print(
        f"{difference['files']:,} of {len(document['files']):,} files differ: "
        f"the model's plan takes {time} and costs {money} than the rules'"
    )


def _with_cost(strategy: str, seconds: float | None) -> str:
    return strategy if seconds is None else f"{strategy} {units.precise(seconds)}"


def _more_or_less(difference: float, amount: str) -> str:
    return f"{amount} {'less' if difference < 0 else 'more'}"


def _show(document: dict[str, Any]) -> None:
    rows: list[tuple[object, ...]] = [
        (
            LETTERS[file["strategy"]],
            file["path"],
            units.size(file["size_bytes"]),
            file["language"],
            "unchanged" if file["unchanged"] else file["reason"],
        )
        for file in document["files"]
    ]
    rows += [("!", skip["path"], None, None, skip["detail"]) for skip in document["skipped"]]
    console.out.print(console.table(("S", "FILE", "SIZE", "LANG", "WHY"), rows, right=frozenset({"SIZE"})))
    totals = "  ".join(
        f"{LETTERS[name]} {totals['files']:,} ({units.size(totals['bytes'])})"
        for name, totals in document["by_strategy"].items()
    )
    console.out.print(f"Σ {totals or 'nothing to publish'}   unchanged {document['files_unchanged']:,}")
    largest, limit = document["largest_message_bytes"], document["max_message_bytes"]
    console.out.print(f"largest message {units.size(largest)} of {units.size(limit)}")
    console.out.print(cost_line(document["cost"]["total"]))


def cost_line(cost: dict[str, float | None]) -> str:
    """`cost at most $0.0021 once and $0.0004 a month`; says so where the CPU time is not known."""
    monthly = usd(cost["storage_month_usd"])
    if (once := cost["once_usd"]) is not None:
        return f"cost at most {usd(once)} once and {monthly} a month"
    known = (cost["transfer_usd"] or 0.0) + (cost["requests_usd"] or 0.0)
    return f"cost at most {usd(known)} once, without CPU time (not measured here yet), and {monthly} a month"
