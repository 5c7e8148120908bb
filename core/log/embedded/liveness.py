"""Whether the process that holds a lease still runs, as far as this machine can tell."""

from __future__ import annotations

import os
from typing import NamedTuple

from core.machine import boot_and_namespace, state_and_start


class ProcessId(NamedTuple):
    """One process, told apart from a later one with the same number.

    `started` is when it began, as the system says it, "" where it does not; `namespace` is where
    `pid` means something: this boot of this machine, and the PID namespace (containers have their own).
    """

    pid: int
    started: str
    namespace: str


def this_process() -> ProcessId:
    """The calling process."""
    pid = os.getpid()
    return ProcessId(pid, (state_and_start(pid) or ("", ""))[1], boot_and_namespace())


def is_running(process: ProcessId) -> bool | None:
    """False when the process is gone for certain (a zombie is), None when that cannot be seen from here."""
    if process.namespace != boot_and_namespace():
        return None
    if process.started:
        state, started = state_and_start(process.pid) or ("", "")
        return started == process.started and state not in {"Z", "X"}
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process
        return True
    return True
