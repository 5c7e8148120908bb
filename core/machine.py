"""What this process may use: processors, memory and file systems, as the machine and its container say.

Linux's control groups (v1 and v2) are honoured where they are mounted; elsewhere the machine counts.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")
MOUNTS: Final = Path("/proc/self/mounts")
IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})

# Version 1 says "unlimited" by a number near 2^63.
_UNLIMITED: Final = 1 << 60


def processors(cgroup: Path = CGROUP) -> int:
    """How many processors this process may use, at least 1; a quota of 1.5 counts as 2."""
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        usable = os.cpu_count() or 1
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
