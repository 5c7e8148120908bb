"""Lines to read: a panel of figures, a file's beginning, a verdict."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len, chop_cells
from textual.geometry import Size
from textual.strip import Strip

from archon_tui.widgets.painted import Line, Painted, Piece
from core.safety.display import display

_WORDS = re.compile(r"\s*\S+\s*|\s+")


class LineView(Painted, can_focus=True):
    """Shows lines, scrolls, draws only what is in sight. Prose is wrapped, code is not."""

    def __init__(
        self,
        title: str = "",
        *,
        id: str | None = None,  # noqa: A002 - Textual's word
        wraps: bool = True,
        help_text: str = "",
    ) -> None:
        super().__init__(id=id)
        self.border_title = title or None
        self.help_text = help_text
        self.lines: Sequence[Line] = ()
        self._shown: Sequence[Line] = ()
        self._wrap(wraps)

    def show(
        self,
        lines: Sequence[Line],
        title: str | None = None,
        *,
        from_top: bool = False,
        wraps: bool | None = None,
    ) -> None:
        """Show these. The place is kept, unless `from_top`."""
        if title is not None and title != self.border_title:
            self.border_title = title
        if lines == self.lines and wraps in (None, self._wraps):
            return
        self.lines = lines
        self._wrap(self._wraps if wraps is None else wraps)
        self.hold(self._arrange())
        if from_top:
            self.scroll_to(0, 0, animate=False)

    @property
    def height(self) -> int:
        """Lines that it takes to show all, as wrapped."""
        return len(self._shown)

    def _wrap(self, wraps: bool) -> None:
        # What is wrapped needs no bar below it, and the one at its side would bring it.
        self._wraps = wraps
        self.styles.overflow_x = "hidden" if wraps else "auto"

    def on_resize(self) -> None:
        self.virtual_size = self._arrange()

    def _arrange(self) -> Size:
        """Cut the lines for the width; how much room they take."""
        width = self.size.width
        if self._wraps and width > 0:
            self._shown = [part for line in self.lines for part in wrapped(line, width)]
            longest = width
        else:
            self._shown = self.lines
            longest = max((sum(cell_len(text) for text, _ in line) for line in self.lines), default=0)
        self.refresh()
        return Size(longest, len(self._shown))

    def render_line(self, y: int) -> Strip:
        left, top = self.scroll_offset
        place = top + y
        if place >= len(self._shown):
            return Strip.blank(self.size.width, self.rich_style)
        return self.paint(self._shown[place], self.size.width, self.rich_style, left=left)


def wrapped(line: Line, width: int) -> list[Line]:
    """`line` in lines of at most `width` cells, broken at spaces where there are any."""
    if sum(cell_len(text) for text, _ in line) <= width:
        return [line]
    indent = " " * min(2, width - 1)
    lines: list[list[Piece]] = [[]]
    used = 0
    for text, style in line:
        for word in _WORDS.findall(display(text, limit=None)):
            if used + cell_len(word.rstrip()) > width and used > len(indent):
                lines.append([(indent, "")])
                used = len(indent)
            for part in chop_cells(word, max(1, width - len(indent))):
                if used + cell_len(part.rstrip()) > width:
                    lines.append([(indent, "")])
                    used = len(indent)
                lines[-1].append((part, style))
                used += cell_len(part)
    return list(lines)
