"""`archon-agent cost`: what ingestion on this machine used, priced."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import typer

from archon_agent import console
from archon_agent.help import App
from archon_agent.options import JsonFlag, Loaded, ProjectFlag, with_settings
from archon_agent.running import run_now
from core import units
from core.errors import UsageError
from core.settings.operations import CostSettings
from core.settings.option import parse_duration
from core.telemetry.cost import price, total, usd

app = App(help="Show what ingestion cost.")
COLUMNS = ("PUBLISHED", "PROCESSED", "STORED", "MOVED", "CPU", "STORAGE/month", "ONCE", "FIRST MONTH")


@app.command(examples=("archon-agent cost --json",))
@with_settings("cost")
def cost(
    loaded: Loaded,
    by: Annotated[str, typer.Option(help="day, project, strategy or job")] = "project",
    since: Annotated[str, typer.Option(help="how far back, such as 7d")] = "30d",
    project: ProjectFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what was used here, and what it costs at the configured rates."""
    first = _first_day(since)
    rows = run_now(lambda: _rows(loaded, by, first, project))
    rates = loaded.settings.cost
    if as_json:
        console.print_json(document(by, first, rows, rates))
        return
    if not rows:
        console.say(f"nothing was ingested here since {first}")
        return
    usage = total(row.usage for row in rows)
    sums = (sum(row.published_files for row in rows), sum(row.processed_files for row in rows))
    cells = [_cells(row.key, row.published_files, row.processed_files, row.usage, rates) for row in rows]
    cells.append(_cells("Σ", *sums, usage, rates))
    console.out.print(console.table((by.upper(), *COLUMNS), cells, right=frozenset(COLUMNS)))
    console.say(f"since {first}, at the rates of archon-agent config show; this machine only")


def _first_day(since: str) -> date:
    try:
        seconds = parse_duration(since)
    except ValueError as error:
        raise UsageError(f"--since: {error}") from None
    assert isinstance(seconds, float)  # noqa: S101 - text always parses to seconds
    return (datetime.now(UTC) - timedelta(seconds=min(seconds, timedelta(days=4000).total_seconds()))).date()


async def _rows(loaded: Loaded, by: str, since: date, project: str | None) -> list[Any]:
    from core.assembly.stores import open_cost_history

    async with open_cost_history(loaded.settings) as history:
        return await history.rows(by, since=since, project=project)


def document(by: str, since: date, rows: list[Any], rates: CostSettings) -> dict[str, Any]:
    """The published shape: usage and dollars by key and in all, with the rates they rest on."""
    usage = total(row.usage for row in rows)
    return {
        "by": by,
        "since": since.isoformat(),
        "rates": rates.model_dump(),
        "rows": [
            {
                by: row.key,
                "published_files": row.published_files,
                "processed_files": row.processed_files,
                **row.usage.to_json(),
                **price(row.usage, rates).to_json(),
            }
            for row in rows
        ],
        "total": {**usage.to_json(), **price(usage, rates).to_json()},
    }


def _cells(key: str, published: int, processed: int, usage: Any, rates: CostSettings) -> tuple[object, ...]:
    dollars = price(usage, rates)
    return (
        key,
        units.count(published),
        units.count(processed),
        units.size(usage.stored_bytes),
        units.size(usage.transferred_bytes),
        units.duration(usage.cpu_seconds),
        usd(dollars.storage_month),
        usd(dollars.once),
        usd(dollars.first_month),
    )
