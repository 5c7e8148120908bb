"""The entry point of `archon-tui`: refuses what is no terminal before anything heavy is imported."""

from __future__ import annotations

import os
import sys

from core.supported import refuse_unsupported

USAGE = 2
# What has an answer without a terminal; a browser's visit has none either, and says so by its driver.
_WITHOUT_TERMINAL = {"--help", "-h", "--serve"}
_DRIVER = "TEXTUAL_DRIVER"


def main() -> None:
    """Run `archon-tui` with the process's arguments."""
    refuse_unsupported()
    if sys.argv[1:] in (["--version"], ["-V"]):
        from core import __version__

        print(f"archon-tui {__version__}")
        return
    is_terminal = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    if not (is_terminal or _DRIVER in os.environ or _WITHOUT_TERMINAL.intersection(sys.argv)):
        print("archon: the dashboard needs a terminal (archon-agent does the same without)", file=sys.stderr)
        raise SystemExit(USAGE)
    from archon_agent.ending import finish
    from archon_tui.cli import app

    finish(app)


if __name__ == "__main__":
    main()
