"""The pictures show the dashboard as it is: every screen, under the names and keys it has now."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from archon_tui.actions import ACTIONS, SCREENS, hints

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
STALE = "run make screenshots"


def text_of(screen: str) -> str:
    """The words of a picture, one space between any two."""
    pieces = re.findall(
        r"<text[^>]*>(.*?)</text>", (SCREENSHOTS / f"{screen}.svg").read_text(encoding="utf-8")
    )
    return " ".join(html.unescape(" ".join(pieces)).replace("\xa0", " ").split())


@pytest.mark.parametrize("screen", SCREENS)
def test_a_picture_shows_the_screen_as_it_is(screen: str) -> None:
    text = text_of(screen)
    for action in ACTIONS:
        if action.id.startswith("go."):
            assert f"{action.shown_keys[0]}{action.title}" in text, STALE
    first = hints(ACTIONS, screen)[0]
    assert f"{first.shown_keys[0]} {first.title}" in text, STALE


def test_there_is_no_picture_of_what_is_gone() -> None:
    assert {path.stem for path in SCREENSHOTS.glob("*.svg")} == set(SCREENS)
