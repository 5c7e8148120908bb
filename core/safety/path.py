"""Paths from strangers: checked as text, and opened so that no link leads out of their root.

Paths are `str` with surrogate escapes for bytes that are not UTF-8 (PEP 383), POSIX separators.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from core.errors import UnsafeInput
from core.safety.display import display

PATH_LIMIT = 4096
"""Bytes, Linux's PATH_MAX."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY

# Nearly every path is this plain, which is told four times as fast as that nothing of the next is in it.
_PLAIN = re.compile(r"[\w+-][\w+.-]*(?:/[\w+-][\w+.-]*)*", re.ASCII)
# What makes a path suspect; one that matches nothing of this is fine. `.git` in any case, as Git does.
_SUSPECT = re.compile(r"\x00|^/|//|/\Z|(?:^|/)\.{1,2}(?:/|\Z)|(?:^|/)\.[gG][iI][tT](?:/|\Z)|^[A-Za-z]:|\\")
_WINDOWS_ESCAPE = re.compile(r"^\\|^[A-Za-z]:[\\/]|(?:^|[\\/])\.\.(?:[\\/]|\Z)|^[./\\]+\Z")


def from_bytes(path: bytes) -> str:
    """A path's bytes as text; bytes that are not UTF-8 become surrogate escapes."""
    return path.decode("utf-8", "surrogateescape")


def to_bytes(path: str) -> bytes:
    """The inverse of `from_bytes`. Raises UnsafeInput for a surrogate that stands for no byte."""
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UnsafeInput(f"the path {display(path)} is not text and not bytes") from None


def expand_user(path: str | Path) -> Path | None:
    """`path` with its leading `~` replaced; None where the user has no home directory.

    A container's user often has neither HOME nor a passwd entry; `Path.expanduser` raises there, and
    `os.path.expanduser` leaves a path below the working directory, which may be a stranger's.
    """
    expanded = os.path.expanduser(path)  # noqa: PTH111 - see above
    return None if expanded.startswith("~") else Path(expanded)


def check_relative_path(path: str) -> str:
    """Return `path` if it names something strictly inside whatever root it is put under.

    Raises UnsafeInput for the empty path, an absolute one (POSIX, or a Windows drive or share), an
    empty, `.` or `..` component (also between backslashes), anything inside `.git`, NUL, more than
    4,096 bytes, and surrogates that stand for no byte. A backslash in a name is legal on POSIX and kept.
    """
    if not path:
        raise UnsafeInput("a path is empty")
    if len(path) <= PATH_LIMIT and _PLAIN.fullmatch(path):
        return path
    if len(path if path.isascii() else to_bytes(path)) > PATH_LIMIT:
        raise UnsafeInput(f"the path {display(path, 80)} is longer than {PATH_LIMIT} bytes")
    if _SUSPECT.search(path) and (problem := _problem(path)):
        raise UnsafeInput(f"the path {display(path)} {problem}")
    return path


def _problem(path: str) -> str | None:
    components = path.split("/")
    if "\0" in path:
        return "contains NUL"
    if path.startswith("/"):
        return "is absolute"
    if ".." in components or _WINDOWS_ESCAPE.search(path):
        return "leaves its root"
    if "" in components or "." in components:
        return "has an empty component"
    if any(component.lower() == ".git" for component in components):
        return "is inside a Git directory"
    return None


def relative_within(root: str, path: str) -> str:
    """The checked path of `path` relative to `root`, both absolute, compared as text.

    Raises UnsafeInput when `path` is not below `root`; links are `open_confined`'s business.
    """
    prefix = root.rstrip("/") + "/"
    if not root.startswith("/") or not path.startswith(prefix):
        raise UnsafeInput(f"the path {display(path)} is not inside {display(root)}")
    return check_relative_path(path[len(prefix) :])


def open_directory(name: str | bytes, parent: int) -> int:
    """A descriptor of the directory `name` in the directory `parent`.

    Raises UnsafeInput if it is a symbolic link, else OSError as open(2).
    """
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise UnsafeInput(f"the directory {_shown(name)} is a symbolic link") from None
        raise


def open_regular(name: str | bytes, parent: int) -> tuple[int, os.stat_result]:
    """A descriptor of the regular file `name` in the directory `parent`, and its status once open.

    Never follows a link and never waits (a FIFO without a writer). Raises UnsafeInput if it is not
    a regular file, else OSError as open(2).
    """
    try:
        descriptor = os.open(name, _FILE, dir_fd=parent)
    except OSError:
        if not stat.S_ISREG(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise UnsafeInput(f"{_shown(name)} is not a regular file") from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnsafeInput(f"{_shown(name)} is not a regular file")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status


def _shown(name: str | bytes) -> str:
    return display(name if isinstance(name, str) else from_bytes(name))


def open_confined(root: str | Path, relative: str) -> int:
    """A descriptor, opened for reading, of the regular file `relative` below the directory `root`.

    Every component is opened relative to its parent without following links, so no swap between
    check and use leads out of `root` (which itself may be a link). Raises UnsafeInput for an unsafe
    path, a link or a file that is not regular, else OSError as open(2). The caller closes it.
    """
    *directories, name = check_relative_path(relative).split("/")
    parent = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for directory in directories:
            child = open_directory(directory, parent)
            os.close(parent)
            parent = child
        return open_regular(name, parent)[0]
    finally:
        os.close(parent)
