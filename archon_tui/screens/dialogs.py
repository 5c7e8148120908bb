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


@dataclass(frozen=True, slots=True)
class Field:
    """A line of text to be asked for.

    `check` returns what is wrong with a text, None where it will do; it may raise `ArchonError`. An
    `optional` one may stay empty, and is then not checked.
    """

    title: str
    check: Callable[[str], str | None]
    value: str = ""
    optional: bool = False

    def wrong(self, text: str) -> str | None:
        """What is wrong with `text`; empty where nothing was typed yet."""
        if not text:
            return None if self.optional else ""
        try:
            return self.check(text)
        except ArchonError as error:
            return f"{error} ({error.hint})" if error.hint else str(error)


class Ask(Dialog[tuple[str, ...]]):
    """A few lines of text, checked as they are typed; enter goes through them, the last one answers."""

    def __init__(self, *fields: Field) -> None:
        super().__init__()
        self.fields = fields

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            for place, field in enumerate(self.fields):
                title = LineView(id=f"title-{place}")
                title.can_focus = False
                yield title
                yield Input(value=field.value, select_on_focus=False)
                verdict = LineView(id=f"verdict-{place}")
                verdict.can_focus = False
                yield verdict

    def on_mount(self) -> None:
        for place, field in enumerate(self.fields):
            self.query_one(f"#title-{place}", LineView).show([[(field.title, "bold")]])
        self._judge()
        self.query(Input).first().focus()

    @property
    def texts(self) -> tuple[str, ...]:
        """What stands in the fields."""
        return tuple(line.value.strip() for line in self.query(Input))

    @on(Input.Changed)
    def _judge(self) -> None:
        for place, (field, text) in enumerate(zip(self.fields, self.texts, strict=True)):
            wrong = field.wrong(text)
            line: Line = [("✓ enter", "ok"), (" (it may stay empty)" if not text else "", "dim")]
            lines = [line] if wrong is None else [[(part, "fail")] for part in wrap(wrong, BOX_WIDTH)]
            self.query_one(f"#verdict-{place}", LineView).show(lines)

    @on(Input.Submitted)
    def submitted(self) -> None:
        lines = list(self.query(Input))
        wrong = [field.wrong(text) is not None for field, text in zip(self.fields, self.texts, strict=True)]
        here = lines.index(self.focused) if isinstance(self.focused, Input) else 0
        if not any(wrong) and here == len(lines) - 1:
            self.dismiss(self.texts)
        elif here < len(lines) - 1 and not wrong[here]:
            lines[here + 1].focus()
        elif True in wrong:
            lines[wrong.index(True)].focus()


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
