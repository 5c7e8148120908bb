"""The entry point: finds the command's module, and turns every ending into an exit code."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

# Command name -> module of archon_agent.commands that holds it as `app`. The order is that of the help.
COMMANDS = {
    "ingest": "ingest",
    "plan": "plan",
    "run": "run",
    "results": "results",
    "search": "search",
    "lag": "lag",
    "status": "status",
    "dlq": "dlq",
    "topics": "topics",
    "storage": "storage",
    "cache": "cache",
    "cost": "cost",
    "history": "history",
    "selector": "selector",
    "doctor": "doctor",
    "schema": "schema",
    "config": "config",
    "demo": "demo",
}


def main() -> None:
    """Run `archon-agent` with the process's arguments."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from core import __version__

        print(f"archon-agent {__version__}")
        return
    from archon_agent.cli import app
    from archon_agent.ending import finish

    finish(app)


def load(name: str) -> Any:
    """The typer app of a command."""
    return import_module(f"archon_agent.commands.{COMMANDS[name]}").app
