"""Which commit of each watched project the log has acknowledged, and who is at work on it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Self

from core.database import Database, Schema, explaining
from core.watching.model import Ingested

SCHEMA = Schema(
    name="watch state",
    application_id=0x61727761,
    migrations=(
        (
            """CREATE TABLE ingested (
                 scope TEXT NOT NULL PRIMARY KEY, url TEXT NOT NULL, branch TEXT, commit_id TEXT NOT NULL,
                 at REAL NOT NULL) WITHOUT ROWID""",
        ),
    ),
)


class WatchState:
    """The directory `directory`: a database, and a lock file per project.

    Rows belong to a scope, which is the log and the project, as in the manifest: another log has got
    nothing yet.
    """

    def __init__(self, directory: Path, log_name: str) -> None:
        self._directory = directory
        self._log_name = log_name
        self._database = Database(directory / "state.sqlite", SCHEMA)

    async def __aenter__(self) -> Self:
        await self._database.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._database.close()

    async def get(self, project: str) -> Ingested | None:
        """What was ingested last, by whatever process."""
        row = await self._database.read(
            lambda db: db.execute(
                "SELECT url, branch, commit_id, at FROM ingested WHERE scope = ?", (self._scope(project),)
            ).fetchone()
        )
        return Ingested(*row) if row else None

    async def put(self, project: str, ingested: Ingested) -> None:
        """`ingested` is acknowledged; durable on return."""
        row = (self._scope(project), ingested.url, ingested.branch, ingested.commit, ingested.at)
        await self._database.write(
            lambda db: db.execute("INSERT OR REPLACE INTO ingested VALUES (?, ?, ?, ?, ?)", row)
        )

    @contextmanager
    def claim(self, project: str) -> Iterator[bool]:
        """Whether the project is ours while inside: nobody else, here or in another process, has it.

        The lock is a flock(2) one, so that it ends with its holder, however that ends.
        """
        path = self._directory / f"{sha256(self._scope(project).encode()).hexdigest()[:32]}.lock"
        with explaining(path, "lock"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def _scope(self, project: str) -> str:
        return f"{self._log_name} {project}"
