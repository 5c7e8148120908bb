"""The one reader of files that hold secrets: for Kafka, Git hosts, HTTP tokens and push hooks alike."""

from __future__ import annotations

import os
import stat
from typing import Final

from core.errors import ConfigurationError
from core.safety.display import display

LARGEST_SECRET: Final = 64 * 1024
"""Bytes."""

READ_ONLY_VOLUME_HINT: Final = (
    "chmod 600 it; in Kubernetes give the volume defaultMode: 0440 and the pod an fsGroup"
)


def read_secret_file(path: str) -> str:
    """The text of the file at the absolute `path`.

    The file is read anew each time, so that a rotated secret is noticed; links are followed, as a Secret
    volume's `..data` needs it, and the file that was opened is the one that is checked. It may be readable
    by its owner and by a group of this process, not by everybody.
    Raises `ConfigurationError`, which names the file and never its content.
    """
    shown = display(path, 120)
    if not path.startswith("/") or "\0" in path:
        raise ConfigurationError(f"the secret file {shown} needs an absolute path")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise ConfigurationError(f"the secret file {shown} cannot be read: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError(f"the secret file {shown} is not a regular file")
        if who := _strangers(status):
            raise ConfigurationError(
                f"the secret file {shown} can be read by {who} (mode {stat.S_IMODE(status.st_mode):04o})",
                hint=READ_ONLY_VOLUME_HINT,
            )
        content = os.read(descriptor, LARGEST_SECRET + 1)
    except OSError as error:
        raise ConfigurationError(f"the secret file {shown} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = ""
    if not text.strip() or len(content) > LARGEST_SECRET:
        raise ConfigurationError(f"the secret file {shown} does not hold a secret")
    return text


def _strangers(status: os.stat_result) -> str | None:
    """Who can read or change a file that should not, in words."""
    if status.st_mode & 0o007:
        return "everybody"
    ours = {os.getegid(), *os.getgroups()}
    if status.st_mode & 0o070 and status.st_gid not in ours:
        return f"the group {status.st_gid}, which this process is not in"
    return None
