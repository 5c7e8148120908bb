"""SQLite files: what they survive, and what they say when they cannot go on."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.database import Database, Schema, connect, decoded_path, encoded_path, explaining, transaction
from core.errors import BackendUnavailable, ConfigurationError
from core.safety.path import from_bytes

SCHEMA = Schema("note store", 0x6E6F7465, (("CREATE TABLE notes (text)",),))
NEWER = Schema(
    "note store", SCHEMA.application_id, (*SCHEMA.migrations, ("ALTER TABLE notes ADD COLUMN author",))
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "notes.db"


def _add(connection: sqlite3.Connection, text: str = "a note") -> None:
    connection.execute("INSERT INTO notes (text) VALUES (?)", (text,))


def _fill(connection: sqlite3.Connection, notes: int = 1000) -> None:
    for _ in range(notes):
        _add(connection, "x" * 10_000)


def _count(connection: sqlite3.Connection) -> int:
    count: int = connection.execute("SELECT count(*) FROM notes").fetchone()[0]
    return count


def _open_and_add(path: Path) -> None:
    with closing(connect(path, SCHEMA)) as connection, transaction(connection):
        _add(connection)


async def test_what_was_written_is_there_after_reopening(path: Path) -> None:
    async with Database(path, SCHEMA) as database:
        await database.write(_add)
    async with Database(path, SCHEMA) as database:
        assert await database.read(_count) == 1


async def test_a_write_that_raises_leaves_nothing(path: Path) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        _add(connection)
        raise RuntimeError("midway")

    async with Database(path, SCHEMA) as database:
        with pytest.raises(RuntimeError, match="midway"):
            await database.write(fail)
        assert await database.read(_count) == 0


async def test_a_read_sees_one_snapshot(path: Path) -> None:
    def count_twice(connection: sqlite3.Connection) -> tuple[int, int]:
        before = _count(connection)
        _open_and_add(path)
        return before, _count(connection)

    async with Database(path, SCHEMA) as database:
        assert await database.read(count_twice) == (0, 0)
        assert await database.read(_count) == 1


async def test_statements_run_off_the_event_loop(path: Path) -> None:
    async with Database(path, SCHEMA) as database:
        assert await database.run(lambda _: threading.current_thread()) is not threading.current_thread()


async def test_close_waits_for_the_running_call_and_is_idempotent(path: Path) -> None:
    database = await Database(path, SCHEMA).open()
    writing = asyncio.ensure_future(database.write(_add))
    await asyncio.sleep(0)
    await asyncio.gather(database.close(), database.close())
    await writing
    with pytest.raises(BackendUnavailable, match="is closed"):
        await database.read(_count)


def test_the_file_is_its_owners_only(path: Path) -> None:
    _open_and_add(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_commit_waits_for_the_disk(path: Path) -> None:
    with closing(connect(path, SCHEMA)) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_older_file_is_migrated(path: Path) -> None:
    _open_and_add(path)
    with closing(connect(path, NEWER)) as connection:
        assert connection.execute("SELECT text, author FROM notes").fetchall() == [("a note", None)]


def test_a_newer_file_is_refused(path: Path) -> None:
    connect(path, NEWER).close()
    with pytest.raises(ConfigurationError, match=r"newer archon \(schema 2, this one knows 1\)") as caught:
        connect(path, SCHEMA)
    assert caught.value.hint is not None
    assert "upgrade" in caught.value.hint


def test_a_foreign_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="not the note store"):
        connect(path, SCHEMA)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"these are not the pages you are looking for\n" * 100)
    with pytest.raises(BackendUnavailable, match=r"notes\.db is damaged: file is not a database"):
        connect(path, SCHEMA)


async def test_a_damaged_page_is_named(path: Path) -> None:
    async with Database(path, SCHEMA) as database:
        await database.write(partial(_fill, notes=5))
    with path.open("r+b") as file:
        file.seek(3 * SCHEMA.page_bytes)
        file.write(b"\xff" * SCHEMA.page_bytes * 4)
    async with Database(path, SCHEMA) as database:
        with pytest.raises(BackendUnavailable, match="damaged: database disk image is malformed"):
            await database.read(lambda connection: connection.execute("SELECT * FROM notes").fetchall())


@pytest.mark.parametrize("where", ["/dev/null/notes.db", "/proc/archon/notes.db"])
def test_a_directory_that_cannot_be_written_is_a_setting_to_change(where: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written") as caught:
        connect(Path(where), SCHEMA)
    assert caught.value.hint is not None
    assert "ARCHON_HOME" in caught.value.hint


def test_a_directory_in_the_files_place_is_a_setting_to_change(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        connect(path, SCHEMA)


def test_a_file_system_without_shared_memory_is_a_setting_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="without shared memory"):
        connect(Path(":memory:"), SCHEMA)  # to SQLite a database that cannot have a write-ahead log


async def test_a_full_disk_undoes_the_write_and_nothing_else(path: Path) -> None:
    async with Database(path, SCHEMA) as database:
        await database.write(_add)
        await database.run(lambda connection: connection.execute("PRAGMA max_page_count = 50"))
        with pytest.raises(BackendUnavailable, match="disk is full"):
            await database.write(_fill)
        assert await database.read(_count) == 1
        await database.write(_add)


_LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from core.database import Database
from core.errors import BackendUnavailable
from tests.unit.test_database import SCHEMA, _add, _count, _fill

async def main() -> None:
    async with Database(Path(sys.argv[1]), SCHEMA) as database:
        await database.write(_add)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            await database.write(_fill)
        except BackendUnavailable as error:
            print(error, await database.read(_count))

asyncio.run(main())
"""


def test_a_write_that_the_system_refuses_is_undone(path: Path) -> None:
    command = [sys.executable, "-c", _LIMITED, str(path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=60)
    assert "notes.db cannot be used: disk I/O error 1" in done.stdout
    with closing(connect(path, SCHEMA)) as connection:
        assert _count(connection) == 1


def test_a_lock_that_stays_is_reported(path: Path) -> None:
    with (
        closing(connect(path, SCHEMA)) as holder,
        closing(connect(path, SCHEMA, busy_timeout_s=0.01)) as waiter,
    ):
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackendUnavailable, match="locked by another process"), explaining(path, "store"):
            waiter.execute("BEGIN IMMEDIATE")


def test_an_exclusively_locked_file_is_reported_within_the_timeout(path: Path) -> None:
    connect(path, SCHEMA).close()
    now = iter(range(100))
    slept: list[float] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BackendUnavailable, match="locked by another process"):
            connect(path, SCHEMA, busy_timeout_s=0.003, clock=lambda: next(now) / 1000, sleep=slept.append)
    assert len(slept) == 2


def test_many_first_openers_agree(tmp_path: Path) -> None:
    for round_ in range(5):
        path = tmp_path / f"{round_}.db"
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(_open_and_add, [path] * 8))
        with closing(connect(path, SCHEMA)) as connection:
            assert _count(connection) == 8


def test_several_processes_open_and_write_one_file(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_open_and_add, args=(path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    with closing(connect(path, SCHEMA)) as connection:
        assert _count(connection) == 4


@given(st.binary().map(from_bytes))
def test_any_path_comes_back_from_a_column(path: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        (column,) = connection.execute("SELECT ?", (encoded_path(path),)).fetchone()
    assert decoded_path(column) == path
