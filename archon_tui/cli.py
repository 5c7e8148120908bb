"""The command line of the dashboard: the agent's settings as flags, and a few of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archon_agent.options import Loaded, with_settings
from core.errors import UsageError
from core.settings.model import SECTIONS

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
@with_settings(*SECTIONS)
def dashboard(
    loaded: Loaded,
    paths: Annotated[
        list[Path] | None, typer.Argument(help="where to look for repositories", show_default=False)
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="refuse what changes anything")] = False,
    demo: Annotated[
        bool, typer.Option("--demo", help="the real pipeline on repositories made for it, then thrown away")
    ] = False,
    replay: Annotated[
        Path | None, typer.Option("--replay", help="play a run's journal", show_default=False)
    ] = None,
    _debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    """Pick a repository, see each file's strategy and why, watch it run, diagnose lag and cache."""
    from archon_tui.starting import run, run_demo

    if demo and replay:
        raise UsageError("--demo and --replay are two different things")
    if demo:
        raise typer.Exit(run_demo(loaded, read_only=read_only))
    raise typer.Exit(run(loaded, tuple(paths or ()), read_only=read_only, journal=replay))
