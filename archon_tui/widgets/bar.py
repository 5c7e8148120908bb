"""One line of pieces, left and right, some of which can be clicked: header, screen numbers, footer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from textual import events
from textual.message import Message
from textual.strip import Strip

from archon_tui.text import fit
from archon_tui.widgets.painted import Painted


class Part(NamedTuple):
    """A piece of a bar; a click on one with an `action` asks for that action."""

    text: str
    style: str = ""
    action: str | None = None


class Bar(Painted):
    """Draws parts; the right-hand ones win where room is short."""

    class Clicked(Message):
        """A part with an action was clicked."""

        def __init__(self, action: str) -> None:
            super().__init__()
            self.action = action

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._left: tuple[Part, ...] = ()
        self._right: tuple[Part, ...] = ()

    @property
    def text(self) -> str:
        """What stands in it, without the gap."""
        return "".join(part.text for part in (*self._left, *self._right))

    def show(self, left: Sequence[Part], right: Sequence[Part] = ()) -> None:
        """Show these parts; draws only where something changed."""
        if (tuple(left), tuple(right)) != (self._left, self._right):
            self._left, self._right = tuple(left), tuple(right)
            self.refresh()

    def render_line(self, y: int) -> Strip:
        return self.paint(
            [(text, style) for text, style, _ in self._parts()], self.size.width, self.rich_style
        )

    def on_click(self, event: events.Click) -> None:
        end = 0
        for part in self._parts():
            end += cell_len(part.text)
            if event.x < end:
                if part.action:
                    self.post_message(self.Clicked(part.action))
                return

    def _parts(self) -> list[Part]:
        width = self.size.width
        right = sum(cell_len(part.text) for part in self._right)
        room = max(0, width - right)
        parts: list[Part] = []
        for part in self._left:
            cells = min(cell_len(part.text), room)
            if cells:
                parts.append(part._replace(text=fit(part.text, cells)))
                room -= cells
        return [*parts, Part(" " * room), *self._right]
