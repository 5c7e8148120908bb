"""What ingestion cost, and what the plan at hand is going to, as the Cost screen shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archon_tui.filters import Fields
from archon_tui.widgets.painted import Line
from core import units
from core.history.costs import CostRow
from core.settings.operations import CostSettings
from core.telemetry.cost import Cost, Usage, price, total, usd

GROUPS = ("strategy", "project", "day")
SUM = "Σ"


@dataclass(frozen=True, slots=True)
class Spent:
    """A row: what was used under one key, priced; `planned` is what the plan at hand expects there."""

    by: str
    key: str
    published: int
    processed: int
    usage: Usage
    cost: Cost
    planned: Cost | None = None

    @property
    def style(self) -> str:
        return "bold" if self.key == SUM else ""


FIELDS: Fields[Spent] = Fields(
    text=lambda row: row.key, size=lambda row: row.usage.stored_bytes + row.usage.transferred_bytes
)


def rows(
    by: str,
    history: Sequence[CostRow],
    rates: CostSettings,
    planned: Mapping[str, Usage] | None = None,
) -> tuple[Spent, ...]:
    """The history by `by`, priced, with a sum at the end where there is more than one row.

    `planned` is what a plan expects to use, by the same keys; a key that only it has costs nothing yet.
    """
    expected = {key: usage for key, usage in (planned or {}).items() if usage != Usage()}
    known = {row.key: row for row in history}
    found = [
        _spent(by, known.get(key) or CostRow(key, 0, 0, Usage()), rates, expected.get(key))
        for key in dict.fromkeys([*known, *expected])
    ]
    if len(found) > 1:
        sums = CostRow(
            SUM,
            sum(row.published for row in found),
            sum(row.processed for row in found),
            total(row.usage for row in found),
        )
        found.append(_spent(by, sums, rates, total(expected.values()) if expected else None))
    return tuple(found)


def _spent(by: str, row: CostRow, rates: CostSettings, planned: Usage | None) -> Spent:
    return Spent(
        by,
        row.key,
        row.published_files,
        row.processed_files,
        row.usage,
        price(row.usage, rates),
        None if planned is None else price(planned, rates),
    )


def known_once(cost: Cost | None) -> str:
    """What is paid once; `≥` marks the sum without a CPU time that nobody has measured."""
    if cost is None:
        return units.UNKNOWN
    if cost.once is not None:
        return usd(cost.once)
    return f"≥ {usd(cost.transfer + cost.requests)}"


def headline(
    by: str, found: Sequence[Spent], since: str, plan: str | None, planned: Cost | None
) -> list[Line]:
    """The sum of what is shown, and the plan beside it where there is one."""
    lines: list[Line] = []
    if found:
        whole = found[-1]
        lines.append(
            [
                (" spent ", "dim"),
                (usd(whole.cost.once), "bold"),
                (" once, ", ""),
                (usd(whole.cost.storage_month), "bold"),
                (f" a month for storage · by {by} since {since}, on this machine", ""),
            ]
        )
    if planned is not None:
        lines.append(
            [
                (" plan  ", "dim"),
                (f"≤ {known_once(planned).removeprefix('≥ ')}", "bold"),
                (" once without CPU, " if planned.once is None else " once, ", ""),
                (f"{usd(planned.storage_month)} a month", "bold"),
                (f" · {plan}", ""),
            ]
        )
    else:
        lines.append([(" no plan is at hand: 1 Repos opens one, and its cost stands here", "dim")])
    return lines


def detail(row: Spent, rates: CostSettings) -> list[Line]:
    """A row by component: usage, rate, dollars, and what was planned."""
    usage, cost, planned = row.usage, row.cost, row.planned
    parts = [
        (
            "storage/month",
            units.size(usage.stored_bytes),
            f"{usd(rates.storage_gb_month)} per GB",
            cost.storage_month,
            planned.storage_month if planned else None,
        ),
        (
            "transfer",
            units.size(usage.transferred_bytes),
            f"{usd(rates.transfer_gb)} per GB",
            cost.transfer,
            planned.transfer if planned else None,
        ),
        (
            "requests",
            f"{usage.puts:,} up, {usage.gets:,} down",
            f"{usd(rates.put_1000)}, {usd(rates.get_1000)} per 1,000",
            cost.requests,
            planned.requests if planned else None,
        ),
        (
            "compute",
            f"{units.duration(usage.cpu_seconds)} CPU",
            f"{usd(rates.cpu_hour)} per hour",
            cost.compute,
            planned.compute if planned else None,
        ),
    ]
    head = f"{'':<14}{'USED':<20}{'RATE':<24}{'COST':>10}{'PLAN':>12}"
    return [
        [
            (row.key if row.key != SUM else "all", "bold"),
            (f"  {row.published:,} files published, {row.processed:,} processed", ""),
        ],
        [(head, "dim")],
        *(
            [
                (f"{name:<14}", "dim"),
                (f"{used:<20}", ""),
                (f"{rate:<24}", "dim"),
                (f"{usd(dollars):>10}", "bold"),
                (f"{('≤ ' + usd(plan)) if plan is not None else units.UNKNOWN:>12}", "dim"),
            ]
            for name, used, rate, dollars, plan in parts
        ),
    ]


def document(row: Spent) -> dict[str, object]:
    """The shape that is exported: as `archon-agent cost --json`, with the plan where there is one."""
    return {
        row.by: row.key,
        "published_files": row.published,
        "processed_files": row.processed,
        **row.usage.to_json(),
        **row.cost.to_json(),
        "planned": row.planned.to_json() if row.planned else None,
    }
