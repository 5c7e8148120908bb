"""The base of what draws its own lines: pieces of text with named styles, made safe as they are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from core.safety.display import display

Piece = tuple[str, str]
"""Text, trusted or not, and the name of a style (empty for the plain one)."""
Line = Sequence[Piece]

STYLES = (
    "ok",
    "warn",
    "fail",
    "dim",
    "bold",
    "title",
    "accent",
    "inline",
    "storage",
    "git",
    "keyword",
    "string",
    "comment",
    "literal",
)


class Painted(ScrollView, inherit_css=True):
    """Draws lines of pieces. Subclasses implement `render_line` by `paint`."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"paint--{name}" for name in STYLES),
        "paint--cursor",
        "paint--header",
    }

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._styles_by_name: dict[str, Style] = {}

    def notify_style_update(self) -> None:
        """Forget resolved styles when theme or focus change."""
        super().notify_style_update()
        self._styles_by_name.clear()

    def hold(self, size: Size) -> None:
        """Make room for as many cells and lines.

        Where only scrollbars change, the screen is not laid out again: that takes longer than drawing it.
        Not for what answers a resize: then the bars are not settled yet.
        """
        room, (wide, tall) = self.size, (self.show_horizontal_scrollbar, self.show_vertical_scrollbar)
        fits = ((size.width > room.width) == wide, (size.height > room.height) == tall)
        if self.styles.auto_dimensions or not all(fits):
            self.virtual_size = size
            return
        self.set_reactive(Painted.virtual_size, size)
        if wide:
            self.horizontal_scrollbar.window_virtual_size = size.width
        if tall:
            self.vertical_scrollbar.window_virtual_size = size.height
        self.scroll_to(*self.scroll_offset, animate=False)

    def named(self, name: str) -> Style:
        """The style of a name, as it adds to the line's."""
        style = self._styles_by_name.get(name)
        if style is None:
            style = self.get_component_rich_style(f"paint--{name}", partial=True) if name else Style()
            self._styles_by_name[name] = style
        return style

    def paint(self, pieces: Iterable[Piece], width: int, base: Style, *, left: int = 0) -> Strip:
        """A strip of exactly `width` cells, from cell `left` of the line on."""
        segments = [
            Segment(display(text, limit=None), base + self.named(name)) for text, name in pieces if text
        ]
        strip = Strip(segments)
        return strip.crop_extend(left, left + width, base)
