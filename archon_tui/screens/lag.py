"""Lag: how far the group is behind, partition by partition, what that means, and who has what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual import on
from textual.containers import Vertical
from textual.widget import Widget

from archon_tui.export import Export
from archon_tui.models import lag
from archon_tui.refresh import Reading, Source
from archon_tui.screens.dialogs import Choice, Choose
from archon_tui.screens.page import Page, bindings, state_line
from archon_tui.watch import Seen
from archon_tui.widgets.line_view import LineView
from archon_tui.widgets.painted import Line
from archon_tui.widgets.row_list import Column, RowList
from core import units
from core.log.lag import PartitionReport

HELP = (
    "A partition's verdict looks back a minute, as Burrow's do. OK keeps up or gets there; WARN moves, but"
    " more waits; STALL does not move; STOP: nobody works on it any more; REWIND: was set back."
)
COLUMNS: tuple[Column[PartitionReport], ...] = (
    Column(
        "verdict",
        "VERDICT",
        9,
        lambda row: lag.verdict(row.judgement.verdict),
        lambda row: lag.SEVERITY[row.judgement.verdict],
        descending=True,
    ),
    Column(
        "where",
        "TOPIC/PARTITION",
        18,
        lambda row: (lag.where(row), ""),
        lambda row: lag.where(row),
        flex=1,
        keep_end=True,
    ),
    Column(
        "committed",
        "COMMITTED",
        10,
        lambda row: (units.count(row.place.committed), "dim"),
        right=True,
        drop=4,
    ),
    Column("end", "END", 10, lambda row: (f"{row.place.end:,}", "dim"), right=True, drop=5),
    Column(
        "lag",
        "LAG",
        8,
        lambda row: (f"{row.place.lag:,}", "bold" if row.place.lag else "dim"),
        lambda row: row.place.lag,
        right=True,
        descending=True,
    ),
    Column(
        "trend",
        "Δ/s",
        6,
        lambda row: lag.trend_piece(row.judgement),
        lambda row: lag.trend(row.judgement) or 0.0,
        right=True,
        descending=True,
    ),
    Column(
        "oldest",
        "SECONDS",
        10,
        lambda row: (units.duration(row.place.lag_seconds if row.place.lag else None), ""),
        lambda row: row.place.lag_seconds or 0.0,
        right=True,
        drop=1,
        descending=True,
    ),
    Column("drain", "DRAIN", 9, lambda row: (lag.drain_text(row), ""), right=True, drop=2),
    Column("history", "10 MIN", 10, lambda row: (lag.history(row), "accent"), drop=3),
    Column(
        "owner",
        "OWNER",
        12,
        lambda row: (row.owner or "–", "dim" if row.owner else "warn"),
        lambda row: row.owner or "",
        drop=6,
        flex=1,
    ),
)


class LagPage(Page):
    """The group's partitions."""

    NAME = "lag"
    BINDINGS = bindings(NAME)

    def __init__(self) -> None:
        super().__init__()
        self._seen: Seen | None = None

    def body(self) -> Iterable[Widget]:
        head = LineView(id="group")
        head.can_focus = False
        head.add_class("figures")
        yield head
        with Vertical(classes="body stacked"):
            main: RowList[PartitionReport] = RowList(
                COLUMNS,
                lag.FIELDS,
                id="partitions",
                empty="no partition to judge yet",
                help_text=HELP,
                identity=lambda row: lag.where(row),
            )
            main.add_class("main")
            yield main
            side = LineView(
                "partition", id="partition", help_text="The partition under the cursor and its agent."
            )
            side.add_class("side")
            yield side

    def on_mount(self) -> None:
        super().on_mount()
        self.partitions.sort(COLUMNS[0])  # the worst first: it is what one is called for

    @property
    def partitions(self) -> RowList[PartitionReport]:
        return self.query_one("#partitions", RowList)

    def where(self) -> str:
        return f"group {self.archon.lag_watch.group}"

    def count_noun(self, count: int) -> str:
        return "partitions" if count != 1 else "partition"

    def sources(self) -> list[Source[Any]]:
        return [Source("the group's lag", self.archon.lag_watch.look, self._told, every_s=2.0)]

    def _told(self, reading: Reading[Seen]) -> None:
        self.archon.seen_told(reading)
        self._reading = reading
        if reading.value is None or not reading.is_live:
            self._show_head()
            return
        self._seen = reading.value
        self.partitions.show(reading.value.report.partitions)
        self._show_head()
        self._show_side()

    def tick(self) -> None:
        if getattr(self, "_reading", None) and self._reading.error:
            self._show_head()

    def _show_head(self) -> None:
        view = self.query_one("#group", LineView)
        trouble = state_line(self._reading, self.session.clock(), "the log")
        lines: list[Line] = [[(" ", ""), *trouble]] if trouble else []
        if self._seen:
            storage = self.session.settings.object_storage
            lifetime = storage.link_lifetime if storage.provider not in ("none", "local") else None
            lines = [*lag.group_lines(self._seen.report, lifetime, self._seen.fleet), *lines]
        view.show(lines)

    @on(RowList.Highlighted)
    def highlighted(self) -> None:
        self._show_side()

    def _show_side(self) -> None:
        row = self.partitions.current
        if row is not None and self._seen:
            self.query_one("#partition", LineView).show(lag.partition_lines(row, self._seen.fleet))

    async def do_list_open(self) -> None:
        self.show_side()
        self.query_one("#partition", LineView).focus()

    def why_not_lag_group(self) -> str | None:
        return None if self._seen and len(self._seen.groups) > 1 else "there is no other group"

    def do_lag_group(self) -> None:
        def answered(group: str | None) -> None:
            if group:
                self.archon.lag_watch.group = group
                self._seen = None
                self.partitions.show([])
                self.archon.coordinator.again()

        groups = self._seen.groups if self._seen else ()
        choices = [Choice(group, group) for group in groups]
        self.app.push_screen(Choose("consumer group", choices), answered)

    def copied(self) -> str | None:
        row = self.partitions.current
        return f"{row.place.topic}/{row.place.partition}" if row else None

    def export(self) -> Export | None:
        if self._seen is None:
            return None
        report = self._seen.report
        rows = [_document(row) for row in report.partitions]
        document = {"group": report.group, "verdict": report.verdict, "why": report.why, "partitions": rows}
        return Export("lag", lambda: document, lambda: rows)


def _document(row: PartitionReport) -> dict[str, object]:
    return {
        "topic": row.place.topic,
        "partition": row.place.partition,
        "committed": row.place.committed,
        "end": row.place.end,
        "lag": row.place.lag,
        "lag_seconds": row.place.lag_seconds,
        "verdict": row.judgement.verdict,
        "why": row.judgement.why,
        "owner": row.owner,
    }
