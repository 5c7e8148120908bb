"""Events: what goes through the log, and the dead letters that can be sent again."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from textual import on
from textual.containers import Horizontal
from textual.widget import Widget

from archon_tui.background import in_background
from archon_tui.export import Export, table
from archon_tui.models.events import FIELDS, EventRow, Kind, Tail, letters_of, message_lines
from archon_tui.models.lag import short
from archon_tui.refresh import Reading, Source
from archon_tui.screens.dialogs import Question
from archon_tui.screens.page import Page, bindings, state_line
from archon_tui.widgets.line_view import LineView
from archon_tui.widgets.painted import Line, Piece
from archon_tui.widgets.row_list import Column, RowList
from core import units
from core.dead_letters import DeadLetters

PREVIEWED = 12
HELP = (
    "The newest messages of the log: requests, results, failures, dead letters. Contents of files and signed"
    " links are left out. Space marks dead letters; D sends them to the topics they came from, once each."
)


def _kind(row: EventRow) -> Piece:
    word, glyph, style = row.kind.value
    return (f"= {word}, redriven", "dim") if row.redriven else (f"{glyph} {word}", style)


COLUMNS: tuple[Column[EventRow], ...] = (
    Column("at", "TIME", 8, lambda row: (f"{row.at:%H:%M:%S}", "dim"), lambda row: row.at, descending=True),
    Column("kind", "WHAT", 13, _kind, lambda row: row.kind.word),
    Column(
        "where",
        "TOPIC/PARTITION/OFFSET",
        16,
        lambda row: (short(row.id), ""),
        lambda row: row.id,
        flex=1,
        keep_end=True,
    ),
    Column(
        "size",
        "SIZE",
        9,
        lambda row: (units.size(row.size), ""),
        lambda row: row.size,
        right=True,
        drop=1,
        descending=True,
    ),
    Column("summary", "SAYS", 14, lambda row: (row.summary or row.key, "dim"), flex=2, drop=2),
)
_NEXT_KIND: tuple[str, ...] = (
    "",
    "kind:request",
    "kind:completed",
    "kind:result",
    "kind:failure",
    "kind:dead",
)


class EventsPage(Page):
    """The live tail."""

    NAME = "events"
    BINDINGS = bindings(NAME)

    def __init__(self) -> None:
        super().__init__()
        self._tail: Tail | None = None
        self._reading: Reading[list[EventRow]] = Reading()
        self._follows = False
        self._opened: object = None

    def body(self) -> Iterable[Widget]:
        trouble = LineView(id="trouble")
        trouble.can_focus = False
        trouble.add_class("figures")
        yield trouble
        with Horizontal(classes="body split"):
            main: RowList[EventRow] = RowList(
                COLUMNS,
                FIELDS,
                id="events",
                empty="the log is empty",
                help_text=HELP,
                identity=lambda row: row.position,
            )
            main.add_class("main")
            yield main
            side = LineView("message", id="message", help_text="Headers and payload of the message.")
            side.add_class("side")
            yield side

    @property
    def events(self) -> RowList[EventRow]:
        return self.query_one("#events", RowList)

    def where(self) -> str:
        return "following" if self._follows else ""

    def count_noun(self, count: int) -> str:
        return "messages" if count != 1 else "message"

    def sources(self) -> list[Source[Any]]:
        return [Source("the log", self._look, self._told, every_s=2.0)]

    async def _look(self) -> list[EventRow]:
        log = await self.session.log()
        if self._tail is None:
            self._tail = Tail(self.session.settings.log.topics)
        return await self._tail.look(log, self.session.settings.log.group)

    def _told(self, reading: Reading[list[EventRow]]) -> None:
        self._reading = reading
        if reading.is_live and reading.value is not None:
            if reading.value != self.events.rows.all:
                self.events.show(reading.value)
            if self._follows:
                self.events.move_to(0)
        self.tick()

    def tick(self) -> None:
        line = state_line(self._reading, self.session.clock(), "the log")
        self.query_one("#trouble", LineView).show([[(" ", ""), *line]] if line else [])

    # The message under the cursor

    @on(RowList.Highlighted)
    def highlighted(self) -> None:
        self._open()

    def _open(self) -> None:
        row = self.events.current
        view = self.query_one("#message", LineView)
        if row is not None and view.display and row.position != self._opened:
            self._opened = row.position
            in_background(self, partial(self._read, row), group="message", only=True)

    async def _read(self, row: EventRow) -> None:
        message = await (await self.session.log()).read(row.position)
        lines: list[Line] = [[("it is gone: its retention is over", "dim")]]
        self.query_one("#message", LineView).show(message_lines(message) if message else lines, from_top=True)

    async def do_list_open(self) -> None:
        self.show_side()
        self.query_one("#message", LineView).focus()
        self._open()

    # Actions

    def do_events_kind(self) -> None:
        now = self.events.filter_text
        place = _NEXT_KIND.index(now) if now in _NEXT_KIND else 0
        self.set_filter(_NEXT_KIND[(place + 1) % len(_NEXT_KIND)])

    def do_events_follow(self) -> None:
        self._follows = not self._follows
        if self._follows:
            self.events.move_to(0)

    def _chosen(self) -> list[EventRow]:
        """The marked dead letters, or the one under the cursor; those sent before are left out."""
        rows = self.events.marked_rows()
        return [row for row in rows if row.kind is Kind.DEAD_LETTER and not row.redriven]

    def why_not_events_redrive(self) -> str | None:
        return None if self._chosen() else "no dead letter is marked or under the cursor"

    def question_events_redrive(self) -> Question:
        rows = self._chosen()
        lines: list[Line] = [
            [(f"{short(row.id)}  ", "bold"), (f"{units.size(row.size)}  ", "dim"), (row.summary, "")]
            for row in rows[:PREVIEWED]
        ]
        if len(rows) > PREVIEWED:
            lines.append([(f"… and {len(rows) - PREVIEWED:,} more", "dim")])
        lines += [
            [],
            [("Key, value and headers go as they came, each to the topic it came from, once.", "dim")],
        ]
        noun = "this dead letter" if len(rows) == 1 else f"these {len(rows):,} dead letters"
        return Question(f"Send {noun} again?", lines, "send")

    async def do_events_redrive(self) -> None:
        rows = self._chosen()
        settings = self.session.settings.log
        dead_letters = DeadLetters(await self.session.log(), settings.group, settings.topics)
        went = 0
        try:
            async for each in dead_letters.redrive_all(letters_of(dead_letters, [row.id for row in rows])):
                went += each.was_sent
        finally:
            self.events.marked.clear()
            self.archon.coordinator.again()
            self.archon.tell(f"{went:,} of {len(rows):,} sent again")

    def copied(self) -> str | None:
        return self.events.current.id if self.events.current else None

    def export(self) -> Export | None:
        return table("events", self.events.rows.all, _document)


def _document(row: EventRow) -> dict[str, object]:
    return {
        "id": row.id,
        "kind": row.kind.word,
        "time": row.at.isoformat(),
        "key": row.key,
        "bytes": row.size,
        "summary": row.summary,
        "redriven": row.redriven,
    }
