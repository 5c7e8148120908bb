"""The entry point: turns every ending into an exit code."""

from __future__ import annotations

import os
import signal
import sys

from core.supported import refuse_unsupported

SERVICES = ("run", "watch")
_INTERRUPTED = 130


def _end_at_once(_signal: int, _frame: object) -> None:
    """SIGTERM before the command has begun. As PID 1 the process would not notice it without a handler."""
    os._exit(0 if sys.argv[1:2] and sys.argv[1] in SERVICES else _INTERRUPTED)


def main() -> None:
    """Run `archon-agent` with the process's arguments."""
    refuse_unsupported()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us; nothing else may take its number
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the end
    signal.signal(signal.SIGTERM, _end_at_once)
    if sys.argv[1:] in (["--version"], ["-V"]):
        from core import __version__

        print(f"archon-agent {__version__}")
        return
    # Looking for plugins of pydantic costs 20 ms at each start, and archon uses none.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    from archon_agent.cli import app
    from archon_agent.ending import finish

    finish(app)
