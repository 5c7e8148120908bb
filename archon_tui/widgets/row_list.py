"""The list of every screen: columns, cursor, marks, filter and sort over up to a million rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from archon_tui.filters import Fields, FilterError, parse
from archon_tui.rows import Rows
from archon_tui.text import fit
from archon_tui.widgets.painted import Painted, Piece

T = TypeVar("T")
MARK = "●"


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column. `width` is cells, or for `flex` the least; `cell` gives text and style name.

    `key` makes it sortable. Columns of the highest `drop` go first where the list is narrow; 0 stays.
    """

    id: str
    title: str
    width: int
    cell: Callable[[T], Piece]
    key: Callable[[T], Any] | None = None
    right: bool = False
    flex: int = 0
    drop: int = 0
    keep_end: bool = False
    descending: bool = False


class RowList(Painted, Generic[T], can_focus=True):
    """Rows under columns. All keys are the screen's; this only knows how to move, mark and show."""

    class Highlighted(Message):
        """The cursor is on another row, or on none."""

        def __init__(self, row_list: RowList[Any]) -> None:
            super().__init__()
            self.row_list = row_list

        @property
        def control(self) -> RowList[Any]:
            return self.row_list

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, RowList.Highlighted) and message.row_list is self.row_list

    class Opened(Message):
        """A row was clicked twice."""

        def __init__(self, row_list: RowList[Any]) -> None:
            super().__init__()
            self.row_list = row_list

        @property
        def control(self) -> RowList[Any]:
            return self.row_list

    class Arranged(Message):
        """Filter or sort took effect; `error` says what is wrong with a filter that did not."""

        def __init__(self, row_list: RowList[Any]) -> None:
            super().__init__()
            self.row_list = row_list

        @property
        def control(self) -> RowList[Any]:
            return self.row_list

    DEFAULT_CLASSES: ClassVar[str] = "row-list"

    def __init__(
        self,
        columns: Sequence[Column[T]],
        fields: Fields[T],
        *,
        id: str | None = None,  # noqa: A002 - Textual's word
        empty: str = "nothing here",
        help_text: str = "",
        identity: Callable[[T], object] | None = None,
    ) -> None:
        """`identity` tells rows apart over `replace`, so that cursor and marks stay with their row."""
        super().__init__(id=id)
        self.columns = tuple(columns)
        self.fields = fields
        self.empty = empty
        self.help_text = help_text
        self.rows: Rows[T] = Rows()
        self.cursor = 0
        self.filter_text = ""
        self.query_error: str | None = None
        self.last_query = ""
        self.sorted_by: Column[T] | None = None
        self.is_reversed = False
        self.marked: set[object] = set()
        self._identity = identity or id_of
        self._layout: list[tuple[Column[T], int]] = []
        self._arranging: asyncio.Task[None] | None = None

    # What it holds

    @property
    def current(self) -> T | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    def marked_rows(self) -> list[T]:
        """The marked rows, or else the one under the cursor."""
        if self.marked:
            return [row for row in self.rows.all if self._identity(row) in self.marked]
        return [] if self.current is None else [self.current]

    def show(self, rows: Iterable[T]) -> None:
        """Other rows; cursor and marks stay with rows that are still there."""
        kept = None if self.current is None else self._identity(self.current)
        self.rows.replace(rows)
        if self.marked:
            self.marked &= {self._identity(row) for row in self.rows.all}
        if self.filter_text or self.sorted_by:
            self._start_arranging(kept)
        else:
            self._settle(kept)

    def add(self, rows: Sequence[T]) -> None:
        """More rows."""
        if not rows:
            return
        before = len(self.rows)
        self.rows.extend(rows)
        self._resize(before)
        if self.rows.is_behind and (self._arranging is None or self._arranging.done()):
            self._start_arranging(None)

    def repaint(self) -> None:
        """Draw again: rows changed in place."""
        self.refresh()

    # Filter and sort

    def filter(self, query: str) -> str | None:
        """Show the rows that match. Returns what is wrong with `query`, if it is; the old one stays then."""
        try:
            parse(query, self.fields)
        except FilterError as error:
            self.query_error = str(error)
            return self.query_error
        self.query_error = None
        if query.strip() != self.filter_text:
            self.last_query = query.strip() or self.filter_text
            self.filter_text = query.strip()
            self._start_arranging()
        return None

    def sort(self, column: Column[T] | None, *, reverse: bool | None = None) -> None:
        """Sort by a column, or not at all; `reverse` None takes the column's natural direction."""
        self.sorted_by = column
        self.is_reversed = (column.descending if column else False) if reverse is None else reverse
        self._start_arranging(to_top=True)

    def sort_by_next(self) -> None:
        """Sort by the next column that can, after the last one by none."""
        able = [None, *(column for column in self.columns if column.key)]
        self.sort(able[(able.index(self.sorted_by) + 1) % len(able)])

    def turn_round(self) -> None:
        """The other way round."""
        self.sort(self.sorted_by, reverse=not self.is_reversed)

    def _start_arranging(self, kept: object | None = None, *, to_top: bool = False) -> None:
        if self._arranging:
            self._arranging.cancel()
        self._arranging = asyncio.create_task(self._arrange(kept, to_top=to_top))

    async def _arrange(self, kept: object | None, *, to_top: bool = False) -> None:
        here = None if self.current is None else self.rows.order[self.cursor]
        predicate = parse(self.filter_text, self.fields)
        key = self.sorted_by.key if self.sorted_by else None
        if not await self.rows.arrange(predicate, key, reverse=self.is_reversed):
            return
        if to_top:
            self.cursor = 0
        elif kept is None and here is not None:
            self.cursor = self.rows.place_of(here) or 0
        self._settle(kept)
        self.post_message(self.Arranged(self))
        if self.rows.is_behind:
            self._arranging = asyncio.create_task(self._arrange(None))

    def _settle(self, kept: object | None) -> None:
        """Size, cursor and view after the rows changed."""
        if kept is not None:
            places = range(len(self.rows))
            self.cursor = next((p for p in places if self._identity(self.rows[p]) == kept), self.cursor)
        self._resize()
        self.move_to(self.cursor)
        self.refresh()

    async def arranged(self) -> None:
        """Wait until filter and sort have taken effect."""
        while self._arranging and not self._arranging.done():
            await asyncio.wait([self._arranging])

    # Moving and marking

    def move_to(self, place: int) -> None:
        """Put the cursor on a row, and the row in sight."""
        before = self.cursor
        self.cursor = max(0, min(place, len(self.rows) - 1))
        if before != self.cursor:
            self._refresh_row(before)
            self._refresh_row(self.cursor)
        height = max(1, self.size.height - 1)
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False)
        self.post_message(self.Highlighted(self))

    def move_by(self, rows: int) -> None:
        self.move_to(self.cursor + rows)

    def half_page(self) -> int:
        return max(1, (self.size.height - 1) // 2)

    def toggle_mark(self) -> None:
        """Mark or unmark the row under the cursor, and go to the next."""
        if self.current is not None:
            self.marked ^= {self._identity(self.current)}
            self._refresh_row(self.cursor)
            self.move_by(1)

    def toggle_all_marks(self) -> None:
        """Mark every row that is shown, or none where all of them are marked."""
        shown = {self._identity(self.rows[place]) for place in range(len(self.rows))}
        self.marked = self.marked - shown if shown <= self.marked else self.marked | shown
        self.refresh()

    async def find(self, step: int) -> bool:
        """Go to the next row (`step` 1 or -1) that matches the last filter; False where none does."""
        predicate = parse(self.last_query, self.fields)
        if predicate is None:
            return False
        place = await self.rows.find(predicate, self.cursor, step)
        if place is not None:
            self.move_to(place)
        return place is not None

    # Drawing

    def on_resize(self) -> None:
        self._layout = []
        self._resize()
        self.move_to(self.cursor)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if not self._layout:
            self._layout = self._lay_out(width)
        if y == 0:
            return self.paint(self._header(), width, self.rich_style + self.named("header"))
        place = self.scroll_offset.y + y - 1
        if place >= len(self.rows):
            text = f"  {self.empty}" if place == 0 and not self.rows.is_arranging else ""
            return self.paint([(text, "dim")], width, self.rich_style)
        row = self.rows[place]
        base = self.rich_style
        if place == self.cursor:
            base += self.named("cursor")
        mark = MARK if self._identity(row) in self.marked else ">" if place == self.cursor else " "
        pieces: list[Piece] = [(mark, "accent")]
        for column, cells in self._layout:
            text, style = column.cell(row)
            pieces.append((fit(text, cells, right=column.right, keep_end=column.keep_end), style))
            pieces.append((" ", ""))
        return self.paint(pieces, width, base)

    def _header(self) -> Iterable[Piece]:
        yield " ", ""
        for column, cells in self._layout:
            arrow = ("▼" if self.is_reversed else "▲") if column is self.sorted_by else ""
            yield fit(column.title + arrow, cells, right=column.right), ""
            yield " ", ""

    def _lay_out(self, width: int) -> list[tuple[Column[T], int]]:
        columns = list(self.columns)
        while _least(columns) > width and any(column.drop for column in columns):
            columns.remove(max(columns, key=lambda column: column.drop))
        spare = max(0, width - _least(columns))
        parts = sum(column.flex for column in columns)
        return [(column, column.width + (spare * column.flex // parts if parts else 0)) for column in columns]

    def _resize(self, since: int = 0) -> None:
        """Make room for the rows; draw where those from `since` on are in sight."""
        size = Size(self.size.width, len(self.rows) + 1)
        if size != self.virtual_size:
            self.hold(size)
            if since < self.scroll_offset.y + self.size.height:
                self.refresh()

    def _refresh_row(self, place: int) -> None:
        line = place - self.scroll_offset.y + 1
        if 0 < line < self.size.height:
            self.refresh(Region(0, line, self.size.width, 1))

    # Mouse

    def on_click(self, event: events.Click) -> None:
        if event.y == 0:
            if column := self._column_at(event.x):
                self.sort(column, reverse=not self.is_reversed if column is self.sorted_by else None)
            return
        place = self.scroll_offset.y + event.y - 1
        if place < len(self.rows):
            self.move_to(place)
            if event.chain == 2:
                self.post_message(self.Opened(self))

    def _column_at(self, x: int) -> Column[T] | None:
        right = 1
        for column, cells in self._layout:
            right += cells + 1
            if x < right:
                return column if column.key else None
        return None


def id_of(row: object) -> object:
    """Rows that are the same object are the same row."""
    return id(row)


def _least(columns: Sequence[Column[Any]]) -> int:
    return 1 + sum(column.width + 1 for column in columns)
