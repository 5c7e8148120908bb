"""Health: the checks of `archon-agent doctor` and every agent that speaks, kept up to date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archon_tui.export import Export, table
from archon_tui.models.health import (
    FIELDS,
    SEVERITY,
    HealthRow,
    absent_row,
    detail,
    document,
    headline,
    history_row,
    rows,
)
from archon_tui.processes import ready_for_processes
from archon_tui.refresh import Reading, Source
from archon_tui.screens.live import LivePage
from archon_tui.screens.page import bindings, state_line
from archon_tui.widgets.painted import Line
from archon_tui.widgets.row_list import Column, RowList
from core import units
from core.telemetry.health import Report

# The checks start a process and write to the disks: often enough to notice, too rarely to be felt.
EVERY_S = 60.0
DEADLINE_S = 20.0
COLUMNS: tuple[Column[HealthRow], ...] = (
    Column("state", "STATE", 10, lambda row: row.piece, lambda row: SEVERITY[row.state], descending=True),
    Column("name", "CHECK OR AGENT", 18, lambda row: (row.name, "bold"), lambda row: row.name, flex=1),
    Column(
        "text",
        "WHAT IS KNOWN",
        20,
        lambda row: (row.text, row.state.style if row.state.style != "ok" else ""),
        flex=3,
    ),
    Column(
        "age",
        "AGE",
        9,
        lambda row: (units.duration(row.age_s), "dim"),
        lambda row: row.age_s or 0.0,
        right=True,
        descending=True,
    ),
    Column(
        "took",
        "TOOK",
        8,
        lambda row: (units.duration(row.took_s), "dim"),
        lambda row: row.took_s or 0.0,
        right=True,
        drop=1,
        descending=True,
    ),
)
HELP = (
    "What these settings depend on, checked as archon-agent doctor does, and every agent on the status topic."
    " Degraded: it still works, with less. Stale: an agent missed three of its turns to speak."
    " The delivery history is what archon-agent selector train learns from; on Kafka it takes over what"
    " agents say of files published here, every half minute while the dashboard is open."
)


class HealthPage(LivePage[HealthRow]):
    """What works and what does not."""

    NAME = "health"
    DETAIL = "check or agent"
    BINDINGS = bindings(NAME)

    def __init__(self) -> None:
        super().__init__()
        self._checks: Source[Report] = Source(
            "the checks", self._examine, self.told, every_s=EVERY_S, deadline_s=DEADLINE_S
        )

    def make_list(self) -> RowList[HealthRow]:
        return RowList(
            COLUMNS, FIELDS, id="health", empty="checking …", help_text=HELP, identity=lambda row: row.key
        )

    def sources(self) -> list[Source[Any]]:
        return [self._checks]

    async def _examine(self) -> Report:
        from core.assembly.examining import examine

        ready_for_processes()
        return await examine(self.session.settings)

    @property
    def reading(self) -> Reading[Report]:
        return self._checks.reading

    @property
    def is_stale(self) -> bool:
        return self.reading.error is not None

    def rows(self) -> Sequence[HealthRow]:
        if self.reading == Reading():  # the agents wait for the checks, or the cursor would follow them down
            return ()
        now, fleet = self.session.clock(), self.archon.log_reading
        return rows(
            self.reading.value,
            self.reading.age(now) or 0.0,
            fleet.value.fleet if fleet.value else (),
            fleet.age(now) or 0.0,
            [*self._absent(), *self._history()],
        )

    def _absent(self) -> list[HealthRow]:
        settings = self.session.settings
        absent: list[HealthRow] = []
        if self.reading.value and settings.object_storage.provider in ("none", "local"):
            absent.append(absent_row("object storage", "no server is set up: --storage-provider brings one"))
        if not settings.history.enabled:
            absent.append(absent_row("delivery history", "none is kept: --history brings one"))
        return absent

    def _history(self) -> list[HealthRow]:
        reading = self.archon.history_source.reading
        if reading.value is None and reading.error is None:
            return []
        return [history_row(reading.value, reading.age(self.session.clock()), reading.error)]

    def headline(self) -> list[Line]:
        now = self.session.clock()
        troubles = [
            state_line(self.reading, now, "every dependency"),
            state_line(self.archon.log_reading, now, "the agents"),
        ]
        return [*headline(self._rows), *([(" ", ""), *trouble] for trouble in troubles if trouble)]

    def detail(self, row: HealthRow) -> list[Line]:
        return detail(row)

    def count_noun(self, count: int) -> str:
        return "checks and agents" if count != 1 else "check"

    def copied(self) -> str | None:
        row = self.list.current
        return f"{row.name} {row.word}: {row.text}" if row else None

    def export(self) -> Export | None:
        return table("health", self._rows, document)
