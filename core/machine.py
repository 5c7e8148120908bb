"""What differs between systems: what a process may use, and how it is limited, bound and recognised.

Linux's control groups (v1 and v2) are honoured where they are mounted; elsewhere the machine counts.
macOS has no affinity, preallocation, limit of address space, death signal or /proc. Each function says
what it does there, and decides by what the system offers rather than by its name.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import signal
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")
PROC: Final = Path("/proc")
MOUNTS: Final = Path("/proc/self/mounts")
IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})

# Version 1 says "unlimited" by a number near 2^63.
_UNLIMITED: Final = 1 << 60

_PR_SET_PDEATHSIG: Final = 1


def processors(cgroup: Path = CGROUP) -> int:
    """How many processors this process may use, at least 1; a quota of 1.5 counts as 2."""
    affinity = getattr(os, "sched_getaffinity", None)
    usable = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = _cpu_quota(cgroup)
    return max(1, min(usable, usable if quota is None else int(-(-quota // 1))))


def memory_limit(cgroup: Path = CGROUP) -> int | None:
    """The container's memory limit in bytes; None where there is none."""
    for name in ("memory.max", "memory/memory.limit_in_bytes", "memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limit = int((cgroup / name).read_text())
            return limit if limit < _UNLIMITED else None
    return None


def is_in_memory(directory: Path, mounts: Path = MOUNTS) -> bool:
    """Whether what is written to `directory` takes memory (tmpfs), as far as can be told."""
    path = _existing(directory).resolve()
    best, kind = Path("/"), ""
    with suppress(OSError):
        for line in mounts.read_text().splitlines():
            _, place, system, *_ = line.split(" ")
            point = Path(place.encode().decode("unicode_escape"))
            if path.is_relative_to(point) and len(point.parts) >= len(best.parts):
                best, kind = point, system
    return kind in IN_MEMORY


def volume_size(directory: Path) -> int | None:
    """Bytes of the volume that `directory` is or will be on; None where it cannot be told."""
    try:
        return shutil.disk_usage(_existing(directory)).total
    except OSError:
        return None


def preallocate(descriptor: int, size: int) -> None:
    """Make a file `size` bytes long and take its space on the disk; on macOS its length only.

    Raises `OSError` where there is no room.
    """
    fallocate = getattr(os, "posix_fallocate", None)
    if fallocate:
        fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def limit_memory(limit: int) -> bool:
    """Limit the address space of this process to `limit` bytes; False where the system cannot (macOS).

    macOS refuses every limit below what the shared library cache takes (cpython issue 78783).
    """
    try:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (OSError, ValueError):
        return False
    return True


@cache
def can_limit_memory(limit: int) -> bool:
    """Whether `limit_memory` works on this system; tried in a process of its own."""
    import subprocess

    attempt = f"from core.machine import limit_memory; raise SystemExit(0 if limit_memory({limit}) else 3)"
    try:
        done = subprocess.run([sys.executable, "-c", attempt], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return True  # nothing is known, and nothing is to be said
    return done.returncode != 3


def peak_memory() -> int:
    """The most memory that this process held at once, in bytes (getrusage(2): KiB on Linux)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def end_with_parent() -> None:
    """Make this process end when the one that started it does.

    `prctl` (Linux) binds it to its direct parent, at once. Elsewhere a thread waits for the pipe that
    `multiprocessing` keeps to the process that asked for this one.
    """
    import ctypes
    from multiprocessing import parent_process

    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl:
        parent = os.getppid()
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    elif starter := parent_process():
        Thread(target=_end_after, args=(starter.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    from multiprocessing import connection

    connection.wait([sentinel])
    os._exit(1)


def state_and_start(pid: int, proc: Path = PROC) -> tuple[str, str] | None:
    """The state of a process, as a letter (ps(1)), and when it began; None where it cannot be told."""
    if (proc / "self").exists():
        with suppress(OSError):
            # Fields 3 and 22, proc_pid_stat(5); field 2 may itself hold spaces and brackets.
            fields = (proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
            return fields[0].decode(), fields[19].decode()
        return None
    state, _, start = _printed("ps", "-o", "stat=,lstart=", "-p", str(pid)).partition(" ")
    return (state[0], " ".join(start.split())) if start else None


@cache
def boot_and_namespace(proc: Path = PROC) -> str:
    """Where a process number means something: this boot of this machine, and the PID namespace."""
    with suppress(OSError):
        boot = (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {(proc / 'self/ns/pid').readlink()}"
    return _printed("sysctl", "-n", "kern.bootsessionuuid") or platform.node()


def _printed(*command: str) -> str:
    """What a tool of the system prints; nothing where it is missing or fails."""
    import subprocess

    environ = {**os.environ, "LC_ALL": "C"}
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=5, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
    return ""


def _existing(directory: Path) -> Path:
    """The nearest directory above that exists."""
    return next((each for each in (directory, *directory.parents) if each.exists()), Path("/"))


def _cpu_quota(cgroup: Path) -> float | None:
    """Processors that the container may use on average; None where it may use all."""
    with suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError, ZeroDivisionError):
        one = int((cgroup / "cpu" / "cpu.cfs_quota_us").read_text())
        period_us = int((cgroup / "cpu" / "cpu.cfs_period_us").read_text())
        return None if one <= 0 else one / period_us
    return None
