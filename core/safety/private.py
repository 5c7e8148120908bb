"""Directories and files of archon's own, for their owner only whatever the umask is.

They hold source code and what archon will do next: who can write there can replace the log.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from core.errors import ConfigurationError
from core.safety.display import display

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private(directory: Path) -> None:
    """Make a directory and what is missing above it; one that exists stays as it is.

    Raises OSError as `Path.mkdir`.
    """
    missing = directory
    absent = []
    while not missing.exists():
        absent.append(missing)
        missing = missing.parent
    for each in reversed(absent):
        with suppress(FileExistsError):  # another process makes it too
            each.mkdir(mode=0o700)
            each.chmod(0o700)  # the umask may have taken bits of the owner's
    directory.mkdir(mode=0o700, exist_ok=True)  # raises where it is something else


def claim_private(directory: Path) -> None:
    """As `make_private`; one that exists and is ours loses what others may do there.

    Volumes stay as they are mounted: their modes are the administrator's. Raises `ConfigurationError` for
    a directory of another user, or of root where anybody may write.
    """
    make_private(directory)
    status = directory.stat()
    others = status.st_mode & _OTHERS
    if status.st_uid == os.geteuid():
        if others and not directory.is_mount():
            directory.chmod(0o700)
    elif not directory.is_mount() and (status.st_uid != 0 or others & stat.S_IWOTH):
        owner = f"another user (uid {status.st_uid})"
        raise ConfigurationError(
            f"{display(str(directory))} belongs to {owner}, and others could replace what is in it",
            hint="run archon as that user, or name another directory: ARCHON_HOME=DIR",
        )


def private_opener(path: str, flags: int) -> int:
    """An opener for `open` whose new files are readable and writable by their owner only."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, for its owner only. Raises OSError."""
    with open(path, "wb", opener=private_opener) as file:
        file.write(content.encode() if isinstance(content, str) else content)
