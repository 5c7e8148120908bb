"""The line above the footer: the filter as it is typed, and how much it leaves."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static

from archon_tui.widgets.bar import Bar, Part


class FilterLine(Horizontal):
    """An input that filters while it is typed in; `enter` keeps the filter, `escape` clears it."""

    class Changed(Message):
        """The query is another one."""

        def __init__(self, query: str) -> None:
            super().__init__()
            self.query = query

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, FilterLine.Changed)

    class Left(Message):
        """The person is done typing."""

    def compose(self) -> ComposeResult:
        yield Static(" / ", classes="slash")
        yield Input(placeholder="filter", compact=True, select_on_focus=False)
        yield Bar()

    @property
    def input(self) -> Input:
        return self.query_one(Input)

    def show(self, text: str, style: str = "dim") -> None:
        """Say how many rows there are, or what is wrong with the filter."""
        self.query_one(Bar).show((), (Part(text + " ", style),))

    def clear(self) -> None:
        self.input.value = ""

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Left())
