"""The entry point: turns every ending into an exit code."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `archon-agent` with the process's arguments."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from core import __version__

        print(f"archon-agent {__version__}")
        return
    from archon_agent.cli import app
    from archon_agent.ending import finish

    finish(app)
