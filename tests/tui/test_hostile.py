"""Names and contents made to break a terminal: on every list they show as themselves, escaped."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from archon_tui.actions import SCREENS
from archon_tui.app import ArchonApp
from archon_tui.export import as_csv
from archon_tui.peek import lines_of
from archon_tui.text import fit, wrap
from archon_tui.widgets.line_view import LineView, wrapped
from archon_tui.widgets.row_list import RowList
from tests.tui.driving import HOSTILE, chosen, drawn, page, session_for, until

# What may list nothing although all was published and analysed: problems, and caches that nobody used.
EMPTY = ("run", "cache")
CONTENT = b"x = '\x1b]0;owned\x07'  # \xe2\x80\xae reversed\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A directory of hostile names and contents."""
    root = tmp_path / "host[/]ile"
    for name in HOSTILE:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(CONTENT)
    return root


def is_safe(text: str) -> bool:
    """Nothing that moves a cursor or turns text round."""
    return all(char.isprintable() for char in text) and "\u202e" not in text


def lists(app: ArchonApp, screen: str) -> bool:
    """Whether the screen is shown and lists what it has."""
    if app.current_mode != screen or not app.page.is_mounted:
        return False
    rows = app.page.main_list
    return screen in EMPTY or (rows is not None and len(rows.rows) > 0)


async def test_every_list_and_pane_draws_hostile_names(repository: Path, tmp_path: Path) -> None:
    session = session_for(tmp_path / "home", repository)
    session.choose(chosen(repository))
    app = ArchonApp(session, first="plan")
    async with app.run_test(size=(160, 40)) as pilot:
        await until(pilot, lambda: session.plan and session.plan.is_complete)
        await until(pilot, lambda: len(page(pilot).files.rows) == len(HOSTILE))
        for place in range(len(HOSTILE)):
            page(pilot).files.move_to(place)
            await pilot.press("w")
            await pilot.press("escape")
        text = "\n".join(drawn(page(pilot).files))
        for shown in (
            "a[/b].py",
            "[slug].tsx",
            "\\x1b[31mred.py",
            "\\u202egnp.py",
            "new\\nline.py",
            "\\xff.py",
        ):
            assert shown in text
        await pilot.press("R", "y")
        await until(pilot, lambda: session.run and session.run.state.is_over)
        assert session.run
        assert session.run.model.counts["analyzed"] == len(HOSTILE)
        for screen in SCREENS:
            await app.go(screen)
            await until(pilot, partial(lists, app, screen))
            await pilot.pause()
            for widget in page(pilot).query("RowList, LineView"):
                assert isinstance(widget, RowList | LineView)
                if widget.size.area:
                    for line in drawn(widget):
                        assert is_safe(line), f"{screen}: {line!r}"
    await session.close()


def test_contents_are_shown_escaped() -> None:
    (line,) = lines_of(CONTENT, "python", "utf-8")
    (shown,) = [wrapped(line, 200)]
    text = "".join(piece for part in shown for piece, _ in part)
    assert text.startswith("x = ")


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("width", [1, 2, 7, 40, 5000])
def test_a_name_fits_its_cells_exactly(name: str, width: int) -> None:
    from rich.cells import cell_len

    for keep_end in (False, True):
        shown = fit(name, width, keep_end=keep_end)
        assert cell_len(shown) == width
        assert is_safe(shown)


def test_four_thousand_characters_are_cut_where_the_end_tells_apart() -> None:
    assert fit("d/" * 2000 + "end.py", 12, keep_end=True) == "…d/d/dend.py"[-12:] or fit(
        "d/" * 2000 + "end.py", 12, keep_end=True
    ).endswith("end.py")


def test_wrapping_loses_nothing() -> None:
    assert "".join(wrap("a\x1bb " + "c" * 50, 10)).replace(" ", "") == "a\\x1bb" + "c" * 50


def test_no_cell_of_an_export_is_a_formula() -> None:
    text = as_csv([{"path": "=cmd|' /C calc'!A0"}, {"path": "-1+1\r\n"}, {"path": os.fsdecode(b"\xff")}])
    assert text.splitlines()[1:] == ["'=cmd|' /C calc'!A0", "'-1+1\\r\\n", "\\xff"]
