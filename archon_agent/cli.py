"""The command line as a lazily loaded click group."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from archon_agent.commands import COMMANDS, load
from archon_agent.ending import OutputClosed


class LazyGroup(TyperGroup):
    """Imports a command's module when the command is named; help imports them all."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(load(cmd_name))
        command.name = cmd_name
        return command

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            raise OutputClosed from None  # typer would exit without a word
        return result


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Brings a repository's files, and an intelligence record per file, to wherever they are needed.",
)


@app.callback()
def root(
    _debug: bool = typer.Option(False, "--debug", help="show tracebacks"),
    version: bool = typer.Option(False, "--version", "-V", help="print the version and exit"),
) -> None:
    if version:
        from core import __version__

        print(f"archon-agent {__version__}")
        raise typer.Exit
