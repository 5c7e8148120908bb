"""CPU time of this process and its children, running ones included."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def cpu_seconds(proc: Path = Path("/proc")) -> float:
    """User and system CPU seconds so far.

    Without `/proc` the children's time counts only once they have ended.
    """
    times = os.times()
    done = times.user + times.system + times.children_user + times.children_system
    return done + sum(_of_tree(proc, child) for child in _children(proc, os.getpid()))


def _of_tree(proc: Path, pid: int) -> float:
    """A live child's time, with what it waited for and its own live children (man 5 proc, stat)."""
    try:
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    ticks = sum(int(fields[index]) for index in (11, 12, 13, 14))
    seconds: float = ticks / os.sysconf("SC_CLK_TCK")
    return seconds + sum(_of_tree(proc, child) for child in _children(proc, pid))


def _children(proc: Path, pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in (proc / str(pid) / "task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found
