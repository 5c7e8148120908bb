"""The command line as a lazily loaded click group."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from typing import Any

import typer

from archon_agent.commands import COMMANDS, PANELS, load
from archon_agent.ending import OutputClosed
from archon_agent.exit_codes import ExitCode
from archon_agent.help import App, Group
from core.errors import UsageError

BRIEF = """\
archon-agent delivers a repository's files, and an intelligence record for
each, to wherever they are needed, without a shared disk.

  archon-agent plan .         show how each file of this repository would travel
  archon-agent ingest .       publish the files that changed
  archon-agent run --drain    turn what was published into records

archon-agent --help lists all commands, COMMAND --help explains one.
archon-tui shows the same in a dashboard."""


class LazyGroup(Group):
    """Imports a command's module only when that command is named."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(load(cmd_name))
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS and not ctx.resilient_parsing:
            nearest = get_close_matches(args[0], COMMANDS, n=1)
            meant = f"did you mean {nearest[0]}?" if nearest else "archon-agent --help lists them"
            raise UsageError(f"there is no command {args[0]}", hint=meant)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        if not args and not ctx.resilient_parsing:
            typer.echo(BRIEF)
            raise typer.Exit(ExitCode.USAGE)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for panel, commands in PANELS.items():
            with formatter.section(typer.style(panel, bold=True)):
                formatter.write_dl(list(commands.items()))

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            raise OutputClosed from None  # typer would exit without a word
        return result


app = App(
    cls=LazyGroup,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Deliver a repository's files, and an intelligence record for each, without a shared disk.",
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
