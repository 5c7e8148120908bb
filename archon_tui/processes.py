"""Starting processes from inside a full-screen application."""

from __future__ import annotations

import sys
from contextlib import redirect_stderr
from multiprocessing import resource_tracker


def ready_for_processes() -> None:
    """Start multiprocessing's tracker now, with the real stderr.

    It hands stderr's descriptor to every process, and Textual's stand-in for stderr has none.
    """
    with redirect_stderr(sys.__stderr__):
        resource_tracker.ensure_running()
