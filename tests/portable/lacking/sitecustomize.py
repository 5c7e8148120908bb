"""Takes away what macOS lacks from every Python that starts with this directory in PYTHONPATH."""

import ctypes
import os
import resource
from typing import Any

CALLS = ("fdatasync", "pipe2", "posix_fadvise", "posix_fallocate", "sched_getaffinity", "sched_setaffinity")
LINUX_ONLY = ("copy_file_range", "eventfd", "memfd_create", "pidfd_open", "splice", "O_PATH", "O_TMPFILE")
for lacking in (*CALLS, *LINUX_ONLY):
    if hasattr(os, lacking):
        delattr(os, lacking)

_setrlimit = resource.setrlimit


def _refuse_address_space(kind: int, limits: tuple[int, int]) -> None:
    if kind == resource.RLIMIT_AS:
        raise ValueError("current limit exceeds maximum limit")  # as macOS words it
    _setrlimit(kind, limits)


resource.setrlimit = _refuse_address_space


class _CDLL(ctypes.CDLL):
    def __getattr__(self, name: str) -> Any:
        if name == "prctl":
            raise AttributeError(name)
        return super().__getattr__(name)


ctypes.CDLL = _CDLL  # type: ignore[misc]
