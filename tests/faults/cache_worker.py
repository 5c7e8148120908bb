"""A process that works on a cache directory as it is told, and dies where it is told.

It is told over a pipe: ("put", content, steps), ("get", key, steps), …; `steps` is after how many system
calls and SQL statements it kills itself with SIGKILL, None for never.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from core import database
from core.cache import disk, index, shelf
from core.cache.disk import Cached, DiskCache
from core.cache.index import NoRoom

HOLD = 1 << 20


class Fuse:
    """Counts steps down and kills the process at zero."""

    def __init__(self) -> None:
        self.left: int | None = None

    def step(self) -> None:
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


class FusedModule:
    """A module whose functions burn the fuse before they work."""

    def __init__(self, module: Any, fuse: Fuse) -> None:
        self._module = module
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        if not callable(found) or isinstance(found, type):
            return found

        def burning(*args: Any, **options: Any) -> Any:
            self._fuse.step()
            return found(*args, **options)

        return burning


class FusedConnection(sqlite3.Connection):
    """Every statement burns the fuse."""

    fuse = Fuse()

    def execute(self, *args: Any) -> sqlite3.Cursor:
        self.fuse.step()
        return super().execute(*args)


class FusedPath(type(Path())):  # type: ignore[misc] # the concrete class of this platform
    """Changing the directory burns the fuse."""

    def rename(self, target: Any) -> Any:
        FusedConnection.fuse.step()
        done = super().rename(target)
        FusedConnection.fuse.step()
        return done

    def unlink(self, missing_ok: bool = False) -> None:
        FusedConnection.fuse.step()
        super().unlink(missing_ok=missing_ok)
        FusedConnection.fuse.step()


def install(fuse: Fuse) -> None:
    """Put the fuse under the cache's modules of this process."""
    FusedConnection.fuse = fuse
    setattr(disk, "os", FusedModule(os, fuse))  # noqa: B010 - the name is not exported, on purpose
    setattr(shelf, "os", FusedModule(os, fuse))  # noqa: B010

    def connect(path: Path, schema: Any) -> sqlite3.Connection:
        database.connect(path, schema).close()
        return sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=10, factory=FusedConnection
        )

    setattr(index, "connect", connect)  # noqa: B010


def work(pipe: Connection, directory: str, max_bytes: int) -> None:
    """Obey until the pipe is closed."""
    fuse = Fuse()
    install(fuse)
    cache = DiskCache(FusedPath(directory), max_bytes)
    cache.open()
    pipe.send("ready")
    while True:
        try:
            command, argument, steps = pipe.recv()
        except EOFError:
            return
        fuse.left = steps
        answer = obey(cache, command, argument)
        fuse.left = None
        pipe.send(answer)


def obey(cache: DiskCache, command: str, argument: Any) -> Any:
    if command == "get":
        found = cache.get(argument, hold=HOLD, head=0)
        return found.content if isinstance(found, Cached) else str(found)
    if command == "put":
        key, content = argument
        try:
            writer = cache.reserve(key, len(content))
            for start in range(0, len(content), 7):
                writer.write(content[start : start + 7])
            writer.commit()
        except NoRoom as refused:
            return refused.cause
        return "stored"
    if command == "reopen":
        cache.close()
        return cache.open()
    if command == "usage":
        usage = cache.usage()
        return usage.entry_bytes + usage.reserved_bytes
    raise ValueError(command)
