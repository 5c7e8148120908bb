"""Help texts: each fits a screen of 80 columns, cuts nothing off and leaves no setting out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from archon_agent import cli
from archon_agent.commands import COMMANDS, load
from archon_tui.cli import app as dashboard
from core.settings.model import SECTIONS, options

LINES = 45
COLUMNS = 80


def _subcommands(name: str) -> Iterator[tuple[str, ...]]:
    command: Any = typer.main.get_command(load(name))
    yield (name,)
    for sub in getattr(command, "commands", {}):
        yield (name, sub)


EVERY = [path for name in COMMANDS for path in _subcommands(name)]


def _help(*arguments: str, app: typer.Typer = cli.app) -> str:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": str(COLUMNS)})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_help_fits_a_screen(path: tuple[str, ...]) -> None:
    lines = _help(*path, "--help").splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS
    assert not [line for line in lines if line.endswith("...") and not line.startswith("Usage:")], (
        "a text was cut off"
    )


def test_the_list_of_commands_fits_a_screen() -> None:
    assert len(_help("--help").splitlines()) <= LINES


def test_the_help_of_the_dashboard_fits_a_screen() -> None:
    assert len(_help("--help", app=dashboard).splitlines()) <= LINES


def test_help_all_shows_every_setting_with_its_variable() -> None:
    text = _help("--help-all", app=dashboard)
    for item in options():
        if item.section in SECTIONS:
            flag = item.flag.replace("--", "--[no-]", 1) if isinstance(item.default, bool) else item.flag
            assert flag in text
            assert item.env[0] in "".join(text.split()), item.key


def test_help_shows_common_settings_only() -> None:
    text = _help("ingest", "--help")
    assert "--kafka-servers" in text
    assert "--kafka-linger" not in text
    assert "--kafka-linger" in _help("ingest", "--help-all")


def test_without_a_command_a_short_text_says_where_to_start() -> None:
    result = CliRunner().invoke(cli.app, [])
    assert result.exit_code == 2
    assert len(result.output.splitlines()) <= 10


@pytest.mark.parametrize(("typed", "meant"), [("serch", "search"), ("ingset", "ingest"), ("satus", "status")])
def test_a_mistyped_command_names_the_nearest(typed: str, meant: str) -> None:
    result = CliRunner().invoke(cli.app, [typed])
    assert meant in str(getattr(result.exception, "hint", ""))
