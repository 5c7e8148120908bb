"""States are glyph, word, colour, in this order; and the colours can be read and told apart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import pytest
from textual.color import Color

from archon_tui.app import ArchonApp
from archon_tui.models.events import EventRow, Kind
from archon_tui.models.lag import verdict
from archon_tui.models.run import RunState
from archon_tui.screens import events, run
from archon_tui.text import State, change
from archon_tui.widgets.painted import STYLES, Piece
from core import units
from core.log.base import Position
from core.log.lag import Verdict
from tests.tui.driving import session_for

GLYPHS = set("✓!✗–◌●→")
# WCAG 2.2, 1.4.11: what tells a state stands out at least three to one.
LEAST_CONTRAST = 3.0
STATES = ("text-success", "text-warning", "text-error")
STRATEGIES = ("strategy-inline", "strategy-storage", "strategy-git")
# Machado, Oliveira, Fernandes 2009, severity 1.0, on linear RGB.
EYES = {
    "protanopia": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deuteranopia": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
}
LEAST_DISTANCE = 0.1


def states() -> Iterator[Piece]:
    """Every state that a screen shows as a piece."""
    yield from ((f"{state.glyph} {state.word}", state.style) for state in State)
    yield from map(verdict, Verdict)
    yield from (run.STATES[state] for state in RunState)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    rows = (EventRow(kind, Position("t", 0, 0), at, "", 0, "") for kind in Kind)
    column = next(column for column in events.COLUMNS if column.id == "kind")
    yield from map(column.cell, rows)


@pytest.mark.parametrize("piece", states(), ids=lambda piece: piece[0])
def test_a_state_is_a_glyph_then_a_word_then_a_colour(piece: Piece) -> None:
    glyph, _, word = piece[0].partition(" ")
    assert glyph in GLYPHS
    assert word.strip().replace(" ", "").isalpha()
    assert piece[1] in STYLES


def test_unknown_is_a_dash_and_zero_is_zero() -> None:
    for shown in (units.size(None), units.count(None), units.duration(None), change(None, 1.0)):
        assert shown == "–"
    assert (units.size(0), units.count(0), change(1.0, 1.0)) == ("0 B", "0", "0")
    assert units.duration(0.0).startswith("0")


def colours(home: Path, theme: str) -> dict[str, Color]:
    app = ArchonApp(session_for(home))
    app.theme = theme
    return {
        name: Color.parse(value)
        for name, value in app.get_css_variables().items()
        if name in {"background", "paint-dim", *STATES, *STRATEGIES}
    }


def linear(colour: Color) -> tuple[float, float, float]:
    """Linear RGB, 0 to 1 (IEC 61966-2-1)."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour.normalized
    )
    return red, green, blue


def contrast(one: Color, other: Color) -> float:
    """WCAG's contrast ratio."""
    light = sorted(
        0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in (linear(one), linear(other))
    )
    return (light[1] + 0.05) / (light[0] + 0.05)


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "archon-safe"])
def test_colours_stand_out_from_the_background(theme: str, tmp_path: Path) -> None:
    found = colours(tmp_path, theme)
    weak = {
        name: round(ratio, 1)
        for name, colour in found.items()
        if name != "background" and (ratio := contrast(colour, found["background"])) < LEAST_CONTRAST
    }
    assert weak == {}


@pytest.mark.parametrize("eye", EYES)
def test_the_safe_theme_differs_for_eyes_that_do_not_tell_red_from_green(eye: str, tmp_path: Path) -> None:
    found = colours(tmp_path, "archon-safe")
    for group in (STATES, STRATEGIES):
        for one, other in combinations(group, 2):
            seen = [
                [
                    sum(part * share for part, share in zip(linear(found[name]), row, strict=True))
                    for row in EYES[eye]
                ]
                for name in (one, other)
            ]
            distance = sum((a - b) ** 2 for a, b in zip(*seen, strict=True)) ** 0.5
            assert distance > LEAST_DISTANCE, f"{one} and {other}: {distance:.2f}"
