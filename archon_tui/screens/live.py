"""The base of the screens that show polled figures: a headline, rows, and the row under the cursor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from textual import on
from textual.containers import Vertical
from textual.widget import Widget

from archon_tui.refresh import Reading
from archon_tui.screens.page import Page
from archon_tui.widgets.line_view import LineView
from archon_tui.widgets.painted import Line
from archon_tui.widgets.row_list import RowList

R = TypeVar("R")


class LivePage(Page, Generic[R]):
    """Subclasses say what to ask (`sources`, whose answers go to `told`), and what to make of the answers.

    The headline stands above the list; the row in full below it, or in its place in a small terminal.
    All is drawn at the next tick after an answer, and once a second so that ages grow. Rows must compare
    equal where nothing changed.
    """

    DETAIL: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._due = True
        self._drawn_at = float("-inf")
        self._rows: Sequence[R] = ()

    def body(self) -> Iterable[Widget]:
        with Vertical(classes="body stacked"):
            figures = LineView(id="figures")
            figures.add_class("figures")
            figures.can_focus = False
            yield figures
            main = self.make_list()
            main.add_class("main")
            yield main
            side = LineView(self.DETAIL, id="detail")
            side.add_class("side")
            yield side

    @abstractmethod
    def make_list(self) -> RowList[R]:
        """The list of the screen."""

    @abstractmethod
    def rows(self) -> Sequence[R]:
        """What the list shows now."""

    @abstractmethod
    def headline(self) -> list[Line]:
        """What stands above the list."""

    @abstractmethod
    def detail(self, row: R) -> list[Line]:
        """A row in full."""

    @property
    @abstractmethod
    def is_stale(self) -> bool:
        """Whether the rows are older than they should be."""

    @property
    def list(self) -> RowList[R]:
        return self.query_one(".main", RowList)

    def told(self, _reading: Reading[Any]) -> None:
        """An answer came."""
        self._due = True

    def tick(self) -> None:
        if self._due or self.session.clock() - self._drawn_at >= 1:
            self.draw()

    def draw(self) -> None:
        """Draw what changed."""
        self._due = False
        self._drawn_at = self.session.clock()
        rows = self.rows()
        if rows != self._rows:
            self._rows = rows
            self.list.show(rows)
        self.list.set_class(self.is_stale, "-stale")
        self.query_one("#figures", LineView).show(self.headline())
        self._draw_detail()

    def _draw_detail(self) -> None:
        row = self.list.current
        self.query_one("#detail", LineView).show(self.detail(row) if row is not None else [])

    @on(RowList.Highlighted)
    def highlighted(self) -> None:
        self._draw_detail()

    def do_list_open(self) -> Any:
        self.show_side(focus=self.has_class("-small"))
        self.query_one("#detail", LineView).focus()
