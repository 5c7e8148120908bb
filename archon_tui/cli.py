"""The command line of the dashboard: the agent's settings as flags, and a few of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archon_agent.help import App
from archon_agent.options import Loaded, with_settings
from core.errors import UsageError
from core.settings.model import SECTIONS

app = App(
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
    read_only: Annotated[
        bool | None,
        typer.Option(
            help="refuse what changes anything [default: with --serve yes, else no]", show_default=False
        ),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="the real pipeline on repositories made for it, then thrown away")
    ] = False,
    replay: Annotated[
        Path | None, typer.Option("--replay", help="play a run's journal", show_default=False)
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="serve it to a browser, which needs the extra serve")
    ] = False,
    serve_host: Annotated[str, typer.Option(help="address to listen at")] = "127.0.0.1",
    serve_port: Annotated[int, typer.Option(help="port to listen at", min=1, max=65535)] = 8000,
    serve_url: Annotated[
        str | None,
        typer.Option(help="what browsers open, where it differs: https://host", show_default=False),
    ] = None,
    _debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    """Pick a repository, see each file's strategy and why, watch it run, diagnose lag and cache."""
    from archon_tui.starting import is_served, run, run_demo

    if demo and replay:
        raise UsageError("--demo and --replay are two different things")
    read_only = serve if read_only is None else read_only
    if serve and not is_served():
        from archon_tui.serving import Address
        from archon_tui.serving import serve as serve_it

        raise typer.Exit(serve_it(Address(serve_host, serve_port, serve_url), read_only=read_only))
    if demo:
        raise typer.Exit(run_demo(loaded, read_only=read_only))
    raise typer.Exit(run(loaded, tuple(paths or ()), read_only=read_only, journal=replay))
