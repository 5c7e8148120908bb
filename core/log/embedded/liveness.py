"""Whether the process that holds a lease still runs, as far as this machine can tell."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class ProcessId(NamedTuple):
    """One process, told apart from a later one with the same number.

    `started` is its start in clock ticks since boot, "" where there is no /proc; `namespace` is where
    `pid` means something: this boot of this machine, and the PID namespace (containers have their own).
    """

    pid: int
    started: str
    namespace: str


def this_process() -> ProcessId:
    """The calling process."""
    pid = os.getpid()
    return ProcessId(pid, (_state_and_start(pid) or ("", ""))[1], _namespace())


def is_running(process: ProcessId) -> bool | None:
    """False when the process is gone for certain (a zombie is), None when that cannot be seen from here."""
    if process.namespace != _namespace():
        return None
    if process.started:
        state, started = _state_and_start(process.pid) or ("", "")
        return started == process.started and state not in {"Z", "X"}
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process
        return True
    return True


def _state_and_start(pid: int) -> tuple[str, str] | None:
    """Fields 3 and 22 of /proc/PID/stat, proc_pid_stat(5); field 2 may itself hold spaces and brackets."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return fields[0].decode(), fields[19].decode()
    return None


def _namespace() -> str:
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return platform.node()
