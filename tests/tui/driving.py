"""Driving the dashboard from tests: a session over a home of its own, and waiting on what comes to be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from archon_tui.app import ArchonApp
from archon_tui.chosen import Chosen
from archon_tui.screens.page import Page
from archon_tui.session import Session
from archon_tui.widgets.line_view import LineView
from archon_tui.widgets.painted import Line
from archon_tui.widgets.row_list import RowList
from core.settings import load

PATIENCE_S = 60.0

# What a stranger may name a file, as far as the disk lets him.
HOSTILE = (
    "a[/b].py",
    "pages/[slug].tsx",
    "esc\x1b[31mred.py",
    "osc\x1b]52;c;aGk=\x07.py",
    "bidi\u202egnp.py",
    "new\nline.py",
    "long/" + "/".join(["d" * 200] * 4) + "/end.py",
    "not-utf8-\udcff.py",
    "wide-\u6f22\u5b57.py",
    "[bold]markup[/bold].py",
    "tab\there.py",
)


def session_for(
    home: Path, *roots: Path, read_only: bool = False, flags: Mapping[str, Any] | None = None
) -> Session:
    """A session on the embedded log below `home`, with one analysis process."""
    own = {"home": home, "agent.workers": 1, "log.partitions": 1, **(flags or {})}
    settings = load(own, environ={}).settings
    return Session(settings, roots=roots, read_only=read_only)


def chosen(path: Path) -> Chosen:
    return Chosen(str(path), path.name)


async def until(pilot: Pilot[Any], condition: Callable[[], object]) -> None:
    """Wait until `condition` holds, letting the application run."""
    async with asyncio.timeout(PATIENCE_S):
        while not (pilot.app.screen_stack and condition()):
            await pilot.pause()


def page(pilot: Pilot[Any]) -> Any:
    """The screen under the dialogs."""
    app = pilot.app
    assert isinstance(app, ArchonApp)
    return app.page


def words(lines: list[Line] | tuple[Line, ...] | Any) -> str:
    """Lines as text."""
    return "\n".join("".join(text for text, _ in line) for line in lines)


def view(of: Page, selector: str) -> str:
    """What a view shows; nothing while the screen is still being made."""
    return words(line for found in of.query(selector).results(LineView) for line in found.lines)


def drawn(widget: RowList[Any] | LineView) -> list[str]:
    """The lines of a widget as they go to the terminal."""
    return [widget.render_line(y).text for y in range(widget.size.height)]
