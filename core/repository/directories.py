"""Directories below a root as descriptors, reached without following a link."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from core.safety.path import open_directory


class DirectoryCursor:
    """One directory below a root at a time; cheap where consecutive files share a directory.

    Holds at most two descriptors, however deep the tree. Not for several threads at once.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        self._path = b""
        self._current = self._root

    def enter(self, directory: bytes) -> int:
        """The descriptor of `directory` (relative, `b""` is the root), valid until the next call.

        Raises UnsafeInput if a component is a symbolic link, else OSError as open(2).
        """
        if directory == self._path:
            return self._current
        if self._path and directory.startswith(self._path + b"/"):
            below = directory[len(self._path) + 1 :]
        else:
            self._leave()
            below = directory
        try:
            for name in below.split(b"/") if below else ():
                child = open_directory(name, self._current)
                if self._current != self._root:
                    os.close(self._current)
                self._current = child
        except BaseException:
            self._leave()
            raise
        self._path = directory
        return self._current

    def _leave(self) -> None:
        if self._current != self._root:
            os.close(self._current)
        self._path, self._current = b"", self._root

    def close(self) -> None:
        """Give the descriptors back; idempotent."""
        if self._root >= 0:
            self._leave()
            os.close(self._root)
            self._root = self._current = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
