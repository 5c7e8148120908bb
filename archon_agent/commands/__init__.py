"""The commands of `archon-agent`, one module each, imported when named."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Each is a module here that holds its command as `app`. The order is that of the help.
COMMANDS = (
    "ingest",
    "plan",
    "run",
    "watch",
    "results",
    "search",
    "lag",
    "status",
    "dlq",
    "topics",
    "storage",
    "cache",
    "cost",
    "history",
    "selector",
    "doctor",
    "schema",
    "config",
    "demo",
)


def load(name: str) -> Any:
    """The typer app of a command."""
    return import_module(f"archon_agent.commands.{name}").app
