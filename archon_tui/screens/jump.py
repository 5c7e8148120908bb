"""Jump mode: a letter on every pane; the letter's key goes there."""

from __future__ import annotations

from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Static

LETTERS = "asdfghjkl"


class Jump(ModalScreen[None]):
    """Labels over the panes of a page."""

    def __init__(self, page: Screen[Any]) -> None:
        super().__init__()
        panes = [widget for widget in page.focus_chain if widget.region.area and widget.display]
        self.targets: dict[str, Widget] = dict(zip(LETTERS, panes, strict=False))

    def compose(self) -> ComposeResult:
        for letter, widget in self.targets.items():
            label = Static(f" {letter} ", classes="jump-label", markup=False)
            label.absolute_offset = widget.region.offset
            yield label

    def on_key(self, event: events.Key) -> None:
        event.stop()
        self.dismiss(None)
        if widget := self.targets.get(event.key):
            widget.focus()

    def on_click(self) -> None:
        self.dismiss(None)
