"""Cost: what ingestion on this machine used, priced, beside what the plan at hand expects."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from archon_tui.export import Export, table
from archon_tui.models.cost import (
    FIELDS,
    GROUPS,
    SUM,
    Spent,
    detail,
    document,
    headline,
    known_once,
    rows,
)
from archon_tui.refresh import Reading, Source
from archon_tui.screens.live import LivePage
from archon_tui.screens.page import bindings, state_line
from archon_tui.widgets.painted import Line
from archon_tui.widgets.row_list import Column, RowList
from core import units
from core.history.costs import CostRow
from core.telemetry.cost import Cost, Usage, price, total, usd

DAYS = 30


def _last(row: Spent) -> bool:
    return row.key == SUM


COLUMNS: tuple[Column[Spent], ...] = (
    Column("key", "OF", 14, lambda row: (row.key, row.style), lambda row: (_last(row), row.key), flex=1),
    Column(
        "published",
        "PUBLISHED",
        9,
        lambda row: (units.count(row.published), row.style),
        lambda row: (_last(row), row.published),
        right=True,
        drop=5,
    ),
    Column(
        "processed",
        "PROCESSED",
        9,
        lambda row: (units.count(row.processed), row.style),
        lambda row: (_last(row), row.processed),
        right=True,
        drop=6,
    ),
    Column(
        "stored",
        "STORED",
        10,
        lambda row: (units.size(row.usage.stored_bytes), row.style),
        lambda row: (_last(row), row.usage.stored_bytes),
        right=True,
        drop=3,
    ),
    Column(
        "moved",
        "MOVED",
        10,
        lambda row: (units.size(row.usage.transferred_bytes), row.style),
        lambda row: (_last(row), row.usage.transferred_bytes),
        right=True,
        drop=2,
    ),
    Column(
        "cpu", "CPU", 9, lambda row: (units.duration(row.usage.cpu_seconds), row.style), right=True, drop=4
    ),
    Column(
        "storage",
        "STORAGE/mon",
        11,
        lambda row: (usd(row.cost.storage_month), row.style),
        lambda row: (_last(row), row.cost.storage_month),
        right=True,
    ),
    Column(
        "once",
        "ONCE",
        10,
        lambda row: (usd(row.cost.once), row.style),
        lambda row: (_last(row), row.cost.once or 0.0),
        right=True,
    ),
    Column("plan", "PLAN ONCE", 11, lambda row: (known_once(row.planned), "dim"), right=True, drop=1),
)
HELP = (
    "What was used on this machine in the last 30 days, at the rates of the [cost] settings (archon-agent"
    " config show). The plan's figures are upper bounds: nothing stored or cached yet."
)


class CostPage(LivePage[Spent]):
    """Plan against actual, by strategy, project or day."""

    NAME = "cost"
    DETAIL = "cost by component"
    BINDINGS = bindings(NAME)

    def __init__(self) -> None:
        super().__init__()
        self._by = GROUPS[0]
        self._since = date.min
        self._source: Source[list[CostRow]] = Source("the cost history", self._ask, self.told, every_s=5.0)

    def make_list(self) -> RowList[Spent]:
        return RowList(
            COLUMNS,
            FIELDS,
            id="costs",
            empty=f"nothing was ingested here in the last {DAYS} days",
            help_text=HELP,
            identity=lambda row: (row.by, row.key),
        )

    def where(self) -> str:
        return f"by {self._by}"

    def sources(self) -> list[Source[Any]]:
        return [self._source]

    async def _ask(self) -> list[CostRow]:
        from core.assembly.stores import open_cost_history

        self._since = (self.session.now() - timedelta(days=DAYS)).date()
        async with open_cost_history(self.session.settings) as history:
            return await history.rows(self._by, since=self._since)

    @property
    def reading(self) -> Reading[list[CostRow]]:
        return self._source.reading

    @property
    def is_stale(self) -> bool:
        return self.reading.error is not None

    def rows(self) -> Sequence[Spent]:
        if self.reading.value is None:
            return ()
        return rows(self._by, self.reading.value, self.session.settings.cost, self._planned())

    def _planned(self) -> dict[str, Usage]:
        """What the plan at hand expects, by the keys of the rows; a plan belongs to no day yet."""
        plan = self.session.plan
        if plan is None:
            return {}
        usage = plan.usage()
        if self._by == "strategy":
            return {strategy.value: each for strategy, each in usage.items()}
        return {plan.project: total(usage.values())} if self._by == "project" else {}

    def _plan_cost(self) -> Cost | None:
        plan = self.session.plan
        return price(total(plan.usage().values()), self.session.settings.cost) if plan else None

    def headline(self) -> list[Line]:
        plan = self.session.plan
        lines = headline(
            self._by, self._rows, str(self._since), plan.chosen.name if plan else None, self._plan_cost()
        )
        state = state_line(self.reading, self.session.clock(), "the cost history")
        return [*lines, [(" ", ""), *state]] if state else lines

    def detail(self, row: Spent) -> list[Line]:
        return detail(row, self.session.settings.cost)

    def count_noun(self, count: int) -> str:
        return "rows" if count != 1 else "row"

    def do_cost_by(self) -> None:
        self._by = GROUPS[(GROUPS.index(self._by) + 1) % len(GROUPS)]
        self._source.reading = Reading()
        self.archon.coordinator.again()
        self.draw()

    def copied(self) -> str | None:
        row = self.list.current
        return f"{row.key}: {usd(row.cost.once)} once, {usd(row.cost.storage_month)} a month" if row else None

    def export(self) -> Export | None:
        return table("cost", self._rows, document)
