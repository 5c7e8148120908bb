"""Makes the environment of a test process the same on every machine."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping

PREFIXES = ("ARCHON_", "AWS_", "CONTENT_", "GIT_", "KAFKA_", "LC_", "OTEL_", "TEXTUAL_", "XDG_")
COLOURS = ("CLICOLOR", "CLICOLOR_FORCE", "COLORTERM", "FORCE_COLOR", "NO_COLOR", "PY_COLORS")
SIZES = ("COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
OTHERS = ("BOTO_CONFIG", "EDITOR", "EMAIL", "LANG", "LANGUAGE", "NETRC", "PAGER", "TRACEPARENT", "VISUAL")
NAMES = {*COLOURS, *SIZES, *OTHERS}
KEPT = ("ARCHON_TEST_", "TEXTUAL_SNAPSHOT_")
"""Settings of the suite itself, such as the broker that it is to use, and what plugins tell their workers."""

LOCALE = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"


def scrubbed(environ: Mapping[str, str], home: str) -> dict[str, str]:
    """`environ` without what could change the outcome of a test, and with a home directory of its own."""
    kept = {
        name: value
        for name, value in environ.items()
        if name.startswith(KEPT) or not (name in NAMES or name.startswith(PREFIXES))
    }
    return {**kept, "HOME": home, "LC_ALL": LOCALE, "TERM": "xterm-256color", "TZ": "UTC"}


def scrub() -> None:
    """Apply `scrubbed` to this process, with an empty home directory that is removed at exit.

    Raises `SystemExit` where the interpreter does not decode file names as UTF-8: it is too late then.
    """
    if sys.getfilesystemencoding() != "utf-8":
        sys.exit("the tests need Python in UTF-8: set PYTHONUTF8=1, or use `make test`")
    home = tempfile.mkdtemp(prefix="archon-tests-home-")
    atexit.register(_remove, home, os.getpid())
    wanted = scrubbed(os.environ, home)
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)
    time.tzset()


def _remove(home: str, owner: int) -> None:
    if os.getpid() == owner:  # not in a fork
        shutil.rmtree(home, ignore_errors=True)
