"""Asking before what is hard to reverse."""

from __future__ import annotations

import sys

import typer

from archon_agent import console
from archon_agent.exit_codes import ExitCode
from core.errors import UsageError


def confirm(question: str) -> None:
    """Ask `question` on stderr and return on "yes"; "no" ends the command with exit code 130.

    Raises `UsageError` where nobody answers: stdin is closed, empty or `/dev/null`.
    """
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        if sys.stdin is not None and sys.stdin.isatty():
            raise
        raise UsageError(f"nobody answered: {question}", hint="give --yes to do it without asking") from None
    if not agreed:
        console.say("nothing was changed")
        raise typer.Exit(ExitCode.INTERRUPTED)
