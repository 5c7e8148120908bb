"""Colours: Textual's themes, and one whose states and strategies differ for every kind of eye.

`archon-safe` uses the palette of Okabe and Ito (Color Universal Design, 2008).
"""

from __future__ import annotations

from textual.theme import Theme

SAFE = Theme(
    name="archon-safe",
    primary="#56B4E9",
    secondary="#0072B2",
    accent="#F0E442",
    foreground="#EEEEEE",
    background="#101418",
    surface="#161C22",
    panel="#1F2830",
    success="#009E73",
    warning="#E69F00",
    error="#D55E00",
    variables={
        "text-success": "#009E73",
        "text-warning": "#E69F00",
        "text-error": "#D55E00",
        "text-accent": "#F0E442",
        "text-primary": "#56B4E9",
        "strategy-inline": "#56B4E9",
        "strategy-storage": "#F0E442",
        "strategy-git": "#CC79A7",
    },
)

# What a theme that says nothing about strategies gets.
DARK = {
    "strategy-inline": "#6CA6FF",
    "strategy-storage": "#4FD6D6",
    "strategy-git": "#E07BE0",
    "paint-dim": "#8C929C",
}
LIGHT = {
    "strategy-inline": "#1F4FB8",
    "strategy-storage": "#00707A",
    "strategy-git": "#9A1F9A",
    "paint-dim": "#5F646C",
}
