"""SQLite files, opened, tuned and made to fail in words: what every local store of archon stands on.

A `Database` is one connection on one thread of its own, so that no statement ever runs on the event
loop. Files are WAL with `synchronous=FULL`: what was committed survives kill -9, and power loss as far
as the disk keeps what it acknowledged. Sources: sqlite.org/wal.html, sqlite.org/pragma.html.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Self, TypeVar

from core.errors import ArchonError, BackendUnavailable, ConfigurationError
from core.safety.path import from_bytes, to_bytes
from core.safety.private import claim_private

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

BUSY_TIMEOUT_S = 10.0
_CHECKPOINT_BYTES = 8 * 1024 * 1024
_WAL_KEPT_BYTES = 64 * 1024 * 1024
_RETRY_S = 0.01
# Of one statement; SQLite's own limit is 32,766 (sqlite.org/limits.html).
_VALUES_LIMIT = 4000
_HOME_HINT = "ARCHON_HOME=DIR moves all state to another directory"
_opening = threading.Lock()


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file holds. `name` is what messages call it; `migrations[n]` brings version n to n + 1.

    `page_bytes` fits the rows (large values want large pages); `cache_bytes` is per connection.
    """

    name: str
    application_id: int
    migrations: tuple[tuple[str, ...], ...]
    page_bytes: int = 4096
    cache_bytes: int = 4 * 1024 * 1024


class Database:
    """One connection to one file, used from coroutines; calls run one after another on its thread."""

    def __init__(self, path: Path, schema: Schema, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self.path = path
        self.schema = schema
        self._busy_timeout_s = busy_timeout_s
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> Self:
        """Open the file, made or migrated as needed; raises what `connect` raises."""
        thread = ThreadPoolExecutor(1, thread_name_prefix=self.schema.name.replace(" ", "-"))
        opening = partial(connect, self.path, self.schema, busy_timeout_s=self._busy_timeout_s)
        try:
            self._connection = await asyncio.get_running_loop().run_in_executor(thread, opening)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        self._thread = thread
        return self

    async def close(self) -> None:
        """Wait for the running call, then close. Idempotent."""
        thread, self._thread = self._thread, None
        connection, self._connection = self._connection, None
        if thread is not None and connection is not None:
            thread.submit(connection.close)
            await asyncio.to_thread(thread.shutdown)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def run(self, work: Work[T]) -> T:
        """`work(connection)` on the thread, outside any transaction."""
        return await self._call(None, work)

    async def read(self, work: Work[T]) -> T:
        """`work(connection)` on one snapshot of the file."""
        return await self._call("DEFERRED", work)

    async def write(self, work: Work[T]) -> T:
        """`work(connection)` in one transaction, durable on return, undone when it raises.

        Cancelling the caller does not stop the transaction. Raises `BackendUnavailable` when the disk is
        full, the file is damaged, or another process keeps the lock beyond the busy timeout.
        """
        return await self._call("IMMEDIATE", work)

    async def _call(self, kind: str | None, work: Work[T]) -> T:
        thread, connection = self._thread, self._connection
        if thread is None or connection is None:
            raise BackendUnavailable(f"the {self.schema.name} {self.path} is closed")

        def on_thread() -> T:
            with explaining(self.path, self.schema.name):
                if kind is None:
                    return work(connection)
                with transaction(connection, kind):
                    return work(connection)

        return await asyncio.get_running_loop().run_in_executor(thread, on_thread)


def connect(
    path: Path,
    schema: Schema,
    *,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> sqlite3.Connection:
    """A tuned connection to `path`, in autocommit mode; the file is made or migrated as needed.

    The file is readable by its owner only: it may hold source code. Raises `ConfigurationError` when
    the path cannot be written, is not ours or was written by a newer archon, else `BackendUnavailable`.
    """
    deadline = clock() + busy_timeout_s
    while True:
        try:
            with _opening, explaining(path, schema.name):
                return _connect(path, schema, busy_timeout_s)
        except _Locked:
            # Changing to WAL does not wait for the busy timeout, and two first openers can collide.
            if clock() >= deadline:
                raise
            sleep(_RETRY_S)


def _connect(path: Path, schema: Schema, busy_timeout_s: float) -> sqlite3.Connection:
    claim_private(path.parent)
    with suppress(FileExistsError):
        # Only ever on a new file: closing any descriptor of an open database would drop its locks.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
    try:
        with transaction(connection, "DEFERRED"):  # one snapshot: another process may be making the file
            version = _version(connection, path, schema)  # first: a file that is not ours stays as it is
        _tune(connection, path, schema)
        if version < len(schema.migrations):
            _migrate(connection, path, schema)
    except BaseException:
        connection.close()
        raise
    return connection


def _tune(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    execute = connection.execute
    execute(f"PRAGMA page_size = {schema.page_bytes}")
    execute("PRAGMA auto_vacuum = INCREMENTAL")
    if execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise ConfigurationError(
            f"the {schema.name} {path} is on a file system without shared memory, such as a network share",
            hint=_HOME_HINT,
        )
    execute("PRAGMA synchronous = FULL")
    execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_BYTES // schema.page_bytes}")
    execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
    execute(f"PRAGMA cache_size = -{schema.cache_bytes // 1024}")
    execute("PRAGMA secure_delete = FAST")


def _migrate(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    with transaction(connection):
        for statements in schema.migrations[_version(connection, path, schema) :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {schema.application_id}")
        connection.execute(f"PRAGMA user_version = {len(schema.migrations)}")


def _version(connection: sqlite3.Connection, path: Path, schema: Schema) -> int:
    """The version of the file; 0 is an empty one."""
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables and owner != schema.application_id:
        raise ConfigurationError(f"{path} is a database, but not the {schema.name}", hint=_HOME_HINT)
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(schema.migrations):
        raise ConfigurationError(
            f"the {schema.name} {path} was written by a newer archon "
            f"(schema {version}, this one knows {len(schema.migrations)})",
            hint=f"upgrade archon; or {_HOME_HINT}",
        )
    return version


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Commit on leaving, roll back when the body or the commit raises."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # some failures have rolled back already
            connection.execute("ROLLBACK")
        raise


def insert(connection: sqlite3.Connection, sql: str, rows: Sequence[Sequence[object]]) -> None:
    """Execute `sql` with `rows` (of one length) in place of its `VALUES`, hundreds in one statement.

    `executemany` would hand the interpreter over and fight for it again after every row.
    """
    if not rows:
        return
    width = len(rows[0])
    step = _VALUES_LIMIT // width
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        places = ", ".join([f"({', '.join('?' * width)})"] * len(part))
        connection.execute(sql.replace("VALUES", f"VALUES {places}", 1), list(chain.from_iterable(part)))


@contextmanager
def explaining(path: Path, name: str) -> Iterator[None]:
    """Turn what SQLite or the disk raise inside into archon's errors; `name` says what `path` is."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _explained(error, path, name) from error


class _Locked(BackendUnavailable):
    """Another process holds the file's lock."""


def _explained(error: sqlite3.Error | OSError, path: Path, name: str) -> ArchonError:
    code = _primary_code(error)
    said = error.strerror if isinstance(error, OSError) else error
    match code:
        case sqlite3.SQLITE_FULL:
            return BackendUnavailable(
                f"the disk is full: the {name} {path} cannot grow",
                hint="free some space and run it again; what was acknowledged is kept",
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            return _Locked(
                f"the {name} {path} is locked by another process",
                hint="wait until that process is done, or stop it",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return BackendUnavailable(
                f"the {name} {path} is damaged: {said}",
                hint="restore a copy, or move the file and its -wal away to start a new one",
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return ConfigurationError(f"the {name} {path} cannot be written: {said}", hint=_HOME_HINT)
    return BackendUnavailable(
        f"the {name} {path} cannot be used: {said}", hint="check the disk and its free space"
    )


def _primary_code(error: sqlite3.Error | OSError) -> int:
    """SQLite's primary result code, also for what the operating system says (sqlite.org/rescode.html)."""
    if isinstance(error, OSError):
        return sqlite3.SQLITE_FULL if error.errno in {errno.ENOSPC, errno.EDQUOT} else sqlite3.SQLITE_CANTOPEN
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def encoded_path(path: str) -> str | bytes:
    """`path` as a column holds it: TEXT, or its bytes as a BLOB where they are not UTF-8."""
    if path.isascii():
        return path
    try:
        path.encode()
    except UnicodeEncodeError:
        return to_bytes(path)
    return path


def decoded_path(column: str | bytes) -> str:
    """The inverse of `encoded_path`."""
    return column if isinstance(column, str) else from_bytes(column)
