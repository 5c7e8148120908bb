"""The entry point of `archon-tui`: refuses what is no terminal before anything heavy is imported."""

from __future__ import annotations

import sys

USAGE = 2
# What has an answer without a terminal.
_WITHOUT_TERMINAL = {"--help", "-h"}


def main() -> None:
    """Run `archon-tui` with the process's arguments."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from core import __version__

        print(f"archon-tui {__version__}")
        return
    if not all(
        stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)
    ) and not _WITHOUT_TERMINAL.intersection(sys.argv):
        print("archon: the dashboard needs a terminal (archon-agent does the same without)", file=sys.stderr)
        raise SystemExit(USAGE)
    from archon_agent.ending import finish
    from archon_tui.cli import app

    finish(app)


if __name__ == "__main__":
    main()
