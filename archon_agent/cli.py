"""The command line as a lazily loaded click group, and what all commands share in ending."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from archon_agent.exit_codes import ExitCode, code_of
from archon_agent.main import COMMANDS, load
from core.errors import ArchonError


class OutputClosed(Exception):
    """The reader of stdout went away."""


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


def run() -> None:
    """Run the command line; never returns. Errors end as one line and the right code."""
    debug = "--debug" in sys.argv
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        _show_usage(error)
        code = error.exit_code
    except ArchonError as error:
        if debug:
            traceback.print_exc()
        code = _tell(str(error), error.hint, code_of(error))
    except (KeyboardInterrupt, typer.Abort):
        code = _tell("interrupted", None, ExitCode.INTERRUPTED)
    except OutputClosed:
        # Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _tell("the reader of the output went away", None, ExitCode.SOME_FAILED)
    except Exception as error:  # noqa: BLE001 - no traceback reaches a user without --debug
        if debug:
            traceback.print_exc()
        code = _tell(
            f"unexpected {type(error).__name__}: {error}", "run again with --debug", ExitCode.SOME_FAILED
        )
    sys.exit(code if isinstance(code, int) else ExitCode.OK)


def _show_usage(error: typer.TyperException) -> None:
    show = getattr(error, "show", None)  # the errors of the parser know how to print usage
    if show:
        show(file=sys.stderr)
    else:
        _tell(error.format_message(), None, ExitCode.USAGE)


def _tell(message: str, hint: str | None, code: ExitCode) -> int:
    from core.safety.display import display
    from core.safety.redact import redact

    line = f"archon: {display(redact(message), limit=2000)}"
    print(f"{line} ({display(hint)})" if hint else line, file=sys.stderr)
    return int(code)
