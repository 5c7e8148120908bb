"""The small windows that ask something. While one is open nothing is polled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from archon_tui.filters import Fields
from archon_tui.text import wrap
from archon_tui.widgets.bar import Bar, Part
from archon_tui.widgets.line_view import LineView
from archon_tui.widgets.painted import Line
from archon_tui.widgets.row_list import Column, RowList
from core.errors import ArchonError

R = TypeVar("R")
BOX_WIDTH = 70


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before an action that cannot be taken back: the deed, and what it will do."""

    title: str
    lines: Sequence[Line]
    yes: str


class Dialog(ModalScreen[R | None], Generic[R]):
    """A box in the middle; escape leaves it without an answer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False),
        Binding("ctrl+c", "leave", show=False, priority=True),
    ]
    AUTO_FOCUS = "RowList, Input, LineView"

    def action_leave(self) -> None:
        self.dismiss(None)

    @on(Bar.Clicked)
    async def clicked(self, event: Bar.Clicked) -> None:
        await self.run_action(event.action)


class Confirm(Dialog[bool]):
    """Yes or no; only `y` says yes, so that no key pressed twice does harm."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", show=False),
        Binding("n,q,enter", "leave", show=False),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
    ]

    def __init__(self, question: Question) -> None:
        super().__init__()
        self.question = question

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = None
            yield LineView(id="question")
            yield Bar(classes="buttons")

    def on_mount(self) -> None:
        lines: list[Line] = [[(self.question.title, "bold")], [("", "")], *self.question.lines]
        self.query_one(LineView).show(lines)
        self.query_one(Bar).show(
            [
                Part(" y ", "accent", "yes"),
                Part(f"{self.question.yes}  ", "", "yes"),
                Part(" n ", "accent", "leave"),
                Part("no", "", "leave"),
            ]
        )

    def action_yes(self) -> None:
        self.dismiss(True)

    def action_scroll(self, lines: int) -> None:
        self.query_one(LineView).scroll_relative(y=lines, animate=False)


class Ask(Dialog[str]):
    """One line of text, checked as it is typed."""

    def __init__(
        self,
        title: str,
        check: Callable[[str], str | None],
        *,
        value: str = "",
        placeholder: str = "",
        suggestions: Sequence[str] = (),
    ) -> None:
        """`check` returns what is wrong with a text, None where it will do; it may raise `ArchonError`."""
        super().__init__()
        self.title_text = title
        self.check = check
        self.value = value
        self.placeholder = placeholder

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield LineView(id="title")
            yield Input(value=self.value, placeholder=self.placeholder, select_on_focus=False)
            yield LineView(id="verdict")

    def on_mount(self) -> None:
        self.query_one("#title", LineView).show([[(self.title_text, "bold")]])
        self.query_one("#title", LineView).can_focus = False
        self._judge(self.value)
        self.query_one(Input).focus()

    @on(Input.Changed)
    def typed(self, event: Input.Changed) -> None:
        self._judge(event.value)

    @on(Input.Submitted)
    def submitted(self, event: Input.Submitted) -> None:
        if self._wrong(event.value) is None:
            self.dismiss(event.value.strip())

    def _wrong(self, value: str) -> str | None:
        if not value.strip():
            return ""
        try:
            return self.check(value.strip())
        except ArchonError as error:
            return f"{error} ({error.hint})" if error.hint else str(error)

    def _judge(self, value: str) -> None:
        wrong = self._wrong(value)
        if wrong is None:
            lines: list[Line] = [[("✓ enter", "ok")]]
        else:
            lines = [[(text, "fail")] for text in wrap(wrong, BOX_WIDTH)] if wrong else [[(" ", "")]]
        self.query_one("#verdict", LineView).show(lines)


@dataclass(frozen=True, slots=True)
class Choice(Generic[R]):
    """Something to choose; one with a `reason` against it is shown, and refused."""

    value: R
    label: str
    detail: str = ""
    reason: str | None = None


class Choose(Dialog[R], Generic[R]):
    """One of a few things."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", show=False),
        Binding("k,up", "move(-1)", show=False),
        Binding("enter", "take", show=False),
    ]

    def __init__(self, title: str, choices: Sequence[Choice[R]], *, at: int = 0) -> None:
        super().__init__()
        self.title_text = title
        self.choices = choices
        self.at = at

    def compose(self) -> ComposeResult:
        columns: list[Column[Choice[R]]] = [
            Column(
                "label", self.title_text, 24, lambda choice: (choice.label, "dim" if choice.reason else "")
            ),
            Column("detail", "", 20, lambda choice: (choice.reason or choice.detail, "dim"), flex=1),
        ]
        with Vertical(classes="box"):
            yield RowList[Choice[R]](columns, Fields(text=lambda choice: choice.label))

    def on_mount(self) -> None:
        rows = self.query_one(RowList)
        rows.show(self.choices)
        rows.move_to(self.at)
        rows.styles.height = len(self.choices) + 1

    def action_move(self, rows: int) -> None:
        self.query_one(RowList).move_by(rows)

    @on(RowList.Opened)
    def action_take(self) -> None:
        choice = self.query_one(RowList).current
        if choice is not None and choice.reason is None:
            self.dismiss(choice.value)
