"""`archon-agent plan`: every file with its strategy and the reason, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from archon_agent import console
from archon_agent.options import JsonFlag, Loaded, Verbose, with_settings
from archon_agent.running import run_async
from archon_agent.target import with_target
from core import units
from core.events.common import ContentStrategy
from core.settings.operations import CostSettings
from core.telemetry.cost import Usage, estimate, price, total, usd

if TYPE_CHECKING:
    from core.planner import PlannedFile

app = typer.Typer(add_completion=False, help="Show what an ingestion would publish, file by file.")
LETTERS = {"inline": "I", "object_storage": "O", "git_reference": "G"}


@app.command()
@with_settings("publish", "storage", "git", "log", "kafka", "cost")
@with_target
def plan(
    loaded: Loaded,
    target: Any,
    as_json: JsonFlag = False,
    verbose: Verbose = 0,
) -> None:
    """Show every file with its strategy and why; `ingest` publishes this same plan."""
    from archon_agent.logs import configure

    configure(verbose)
    document = run_async(lambda _stop: _plan(loaded, target))
    if as_json:
        console.print_json(document)
    else:
        _show(document)


async def _plan(loaded: Loaded, target: Any) -> dict[str, Any]:
    from core.assembly import ingestion
    from core.publisher import dry_run

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
            }
        )

    async with ingestion(loaded.settings, target, show_unchanged=True) as job:
        summary = await dry_run(job.planner.stream(), job.project_name, job.rules, each=collect)
        usage = estimate(summary.by_strategy, await job.costs.cpu_s_per_byte())
        return {
            **summary.to_json(),
            "max_message_bytes": job.rules.max_batch_bytes,
            "cost": estimated_cost(usage, loaded.settings.cost),
            "files": files,
        }


def estimated_cost(usage: dict[ContentStrategy, Usage], rates: CostSettings) -> dict[str, Any]:
    """The published shape of a plan's cost: an upper bound in dollars, by strategy and in all."""
    return {
        "by_strategy": {name: price(one, rates).to_json() for name, one in usage.items()},
        "total": price(total(usage.values()), rates).to_json(),
    }


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
