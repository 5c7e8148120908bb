"""How every command line of archon ends: one line on stderr, and the right exit code."""

from __future__ import annotations

import os
import sys
import traceback
from itertools import takewhile
from typing import NoReturn

import typer

from archon_agent.exit_codes import ExitCode, code_of
from core.errors import ArchonError


class Interrupted(Exception):
    """A signal ended the work. Not a KeyboardInterrupt: typer ends that one without a word."""


class OutputClosed(Exception):
    """The reader of stdout went away."""


def finish(app: typer.Typer) -> NoReturn:
    """Run a command line to its end. Errors end as one line on stderr and the right code."""
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        _show_usage(error)
        code = error.exit_code
    except (Interrupted, KeyboardInterrupt, typer.Abort):
        code = _tell("interrupted", None, ExitCode.INTERRUPTED)
    except OutputClosed:
        # Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _tell("the reader of the output went away", None, ExitCode.SOME_FAILED)
    except Exception as error:  # noqa: BLE001 - no traceback reaches a user without --debug
        code = explain(error)
    sys.exit(code if isinstance(code, int) else ExitCode.OK)


def explain(error: Exception) -> int:
    """One line on stderr for what ended a command, the traceback only with --debug; the exit code."""
    if "--debug" in takewhile(lambda argument: argument != "--", sys.argv[1:]):
        traceback.print_exception(error)
    if isinstance(error, ArchonError):
        return _tell(str(error), error.hint, code_of(error))
    return _tell(
        f"unexpected {type(error).__name__}: {error}", "run again with --debug", ExitCode.SOME_FAILED
    )


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
