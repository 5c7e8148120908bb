"""Figures as characters: bars, sparklines, states. Pure functions; a word always stands beside a colour."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from rich.cells import cell_len, chop_cells, set_cell_size

from core.events.common import ContentStrategy
from core.safety.display import display

LETTERS = {
    ContentStrategy.INLINE: "I",
    ContentStrategy.OBJECT_STORAGE: "O",
    ContentStrategy.GIT_REFERENCE: "G",
}
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"
ELLIPSIS = "…"


class State(Enum):
    """How something is. The value is (glyph, word, style name of the themes)."""

    OK = ("✓", "ok", "ok")
    WARN = ("!", "warning", "warn")
    FAIL = ("✗", "failed", "fail")
    UNKNOWN = ("–", "unknown", "dim")
    STALE = ("◌", "stale", "dim")

    @property
    def glyph(self) -> str:
        return self.value[0]

    @property
    def word(self) -> str:
        return self.value[1]

    @property
    def style(self) -> str:
        return self.value[2]


def bar(share: float | None, width: int) -> str:
    """`▕██████░░▏`, `width` cells in all; unknown is an empty frame."""
    room = max(0, width - 2)
    if share is None:
        return f"▕{' ' * room}▏"
    full = round(min(1.0, max(0.0, share)) * room)
    # Something is never shown as nothing, and not yet all never as all.
    if share > 0:
        full = max(1, full)
    if share < 1:
        full = min(room - 1, full)
    return f"▕{'█' * full}{'░' * (room - full)}▏"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The newest `width` values, scaled from 0 to the largest; a gap stays blank, all zero stays low."""
    shown = list(values)[-width:] if width > 0 else []
    top = max((value for value in shown if value is not None), default=0.0)
    marks = [
        " "
        if value is None
        else _LEVELS[min(len(_LEVELS) - 1, int(value / top * (len(_LEVELS) - 1) + 0.5)) if top > 0 else 0]
        for value in shown
    ]
    return "".join(marks).rjust(width)


def shares(counts: Sequence[float], width: int) -> list[int]:
    """`width` cells divided in proportion to `counts` by largest remainder; a part above 0 gets a cell."""
    total = sum(counts)
    if total <= 0 or width <= 0:
        return [0] * len(counts)
    exact = [count / total * width for count in counts]
    cells = [max(1, int(value)) if value > 0 else 0 for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: exact[index] - cells[index])
    while sum(cells) > width and max(cells) > 1:
        cells[max(range(len(cells)), key=cells.__getitem__)] -= 1
    for index in reversed(by_remainder):
        if sum(cells) >= width:
            break
        cells[index] += 1
    return cells


def change(now: float | None, before: float | None) -> str:
    """`▲ 12`, `▼ 3`, `0`, or `–` where one side is unknown."""
    if now is None or before is None:
        return "–"
    difference = round(now - before)
    return f"▲ {difference:,}" if difference > 0 else f"▼ {-difference:,}" if difference else "0"


def fit(text: str, width: int, *, right: bool = False, keep_end: bool = False) -> str:
    """`text` made safe, in exactly `width` cells: padded, or cut with an ellipsis.

    `keep_end` cuts the beginning, as paths need: their end tells them apart.
    """
    safe = display(text, limit=None if len(text) < 4 * width else max(8, 4 * width))
    length = len(safe) if safe.isascii() else cell_len(safe)
    if length <= width:
        return safe.rjust(width - length + len(safe)) if right else safe + " " * (width - length)
    if width <= 1:
        return ELLIPSIS[:width]
    if not keep_end:
        return set_cell_size(safe, width - 1) + ELLIPSIS
    return ELLIPSIS + _last_cells(safe, width - 1)


def _last_cells(text: str, width: int) -> str:
    if text.isascii():
        return text[-width:]
    kept: list[str] = []
    used = 0
    for char in reversed(text):
        cells = cell_len(char)
        if used + cells > width:
            break
        kept.append(char)
        used += cells
    return "".join(reversed(kept)).rjust(width - used + len(kept))


def wrap(text: str, width: int) -> list[str]:
    """`text` made safe, in lines of at most `width` cells, broken at spaces where there are any."""
    lines: list[str] = []
    line = ""
    for word in display(text, limit=8192).split(" "):
        joined = f"{line} {word}" if line else word
        if cell_len(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        *full, line = chop_cells(word, max(1, width)) or [""]
        lines.extend(full)
    return [*lines, line] if line or not lines else lines
