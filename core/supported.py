"""Which systems archon runs on. Imports nothing that some system lacks."""

from __future__ import annotations

import sys

_WINDOWS = "archon: native Windows is not supported; install archon in WSL 2 (wsl --install)"


def refuse_unsupported() -> None:
    """End with one line and exit code 2 on a system that archon does not support."""
    if sys.platform == "win32":
        print(_WINDOWS, file=sys.stderr)
        raise SystemExit(2)
