"""A directory layer that answers as the disk of a Mac: names in NFD, found whatever their form or case."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


def _fold(name: str | bytes) -> str:
    return unicodedata.normalize("NFD", os.fsdecode(name)).casefold()


class _Entry:
    """An entry of a directory, named in NFD."""

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self._entry = entry
        self.name = unicodedata.normalize("NFD", entry.name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._entry, name)


def mount(patch: pytest.MonkeyPatch) -> None:
    """Make every access below a directory descriptor go through the layer."""
    real_open, real_stat, real_scandir = os.open, os.stat, os.scandir

    def stored(name: Any, dir_fd: int | None) -> Any:
        if dir_fd is None or not isinstance(name, (str, bytes)) or b"/" in os.fsencode(name):
            return name
        with real_scandir(dir_fd) as entries:
            return next((each.name for each in entries if _fold(each.name) == _fold(name)), name)

    def open_(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        return real_open(stored(path, dir_fd), flags, mode, dir_fd=dir_fd)

    def stat(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        return real_stat(stored(path, dir_fd), dir_fd=dir_fd, follow_symlinks=follow_symlinks)

    @contextmanager
    def scandir(path: Any = ".") -> Iterator[Iterator[Any]]:
        with real_scandir(path) as entries:
            yield iter([_Entry(entry) for entry in entries])  # lookups move the same position

    patch.setattr(os, "open", open_)
    patch.setattr(os, "stat", stat)
    patch.setattr(os, "scandir", scandir)
