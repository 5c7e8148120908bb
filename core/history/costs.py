"""The local history of what ingestion used, by day, project, strategy and job.

Usage is kept, not dollars: it is priced when it is read, at the rates of then.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal, Self, get_args

from core.database import Database, Schema
from core.errors import ArchonError, UsageError
from core.history.flushing import Sleep, flushing
from core.telemetry.cost import Usage
from core.telemetry.cost_meter import Account, CostMeter, Spent

logger = logging.getLogger(__name__)

By = Literal["day", "project", "strategy", "job"]
KEPT = timedelta(days=400)
FLUSH_S = 15.0
SCHEMA = Schema(
    name="cost history",
    application_id=0x6172636F,
    migrations=(
        (
            """CREATE TABLE spent (
                 day TEXT NOT NULL, project TEXT NOT NULL, strategy TEXT NOT NULL, job TEXT NOT NULL,
                 side TEXT NOT NULL, files INTEGER NOT NULL, bytes INTEGER NOT NULL,
                 stored_bytes INTEGER NOT NULL, transferred_bytes INTEGER NOT NULL,
                 puts INTEGER NOT NULL, gets INTEGER NOT NULL, cpu_seconds REAL NOT NULL,
                 PRIMARY KEY (day, project, strategy, job, side)) WITHOUT ROWID""",
        ),
    ),
)
_ADD = """INSERT INTO spent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT DO UPDATE SET
    files = files + excluded.files, bytes = bytes + excluded.bytes,
    stored_bytes = stored_bytes + excluded.stored_bytes,
    transferred_bytes = transferred_bytes + excluded.transferred_bytes,
    puts = puts + excluded.puts, gets = gets + excluded.gets,
    cpu_seconds = cpu_seconds + excluded.cpu_seconds"""


@dataclass(frozen=True, slots=True)
class CostRow:
    """What was used under one key (a day, project, strategy or job). Files are counted on each side."""

    key: str
    published_files: int
    processed_files: int
    usage: Usage


class CostHistory:
    """The SQLite file `path`; entries older than 400 days are dropped when it is opened."""

    def __init__(self, path: Path, *, today: Callable[[], date] = lambda: datetime.now(UTC).date()) -> None:
        self._database = Database(path, SCHEMA)
        self._today = today

    async def __aenter__(self) -> Self:
        await self._database.open()
        oldest = (self._today() - KEPT).isoformat()
        await self._database.write(lambda db: db.execute("DELETE FROM spent WHERE day < ?", (oldest,)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._database.close()

    async def add(self, side: str, entries: Mapping[Account, Spent]) -> None:
        """Add to today's figures, durable on return. Raises `BackendUnavailable`."""
        day = self._today().isoformat()
        rows = [
            (
                day,
                *account,
                side,
                spent.files,
                spent.bytes,
                spent.usage.stored_bytes,
                spent.usage.transferred_bytes,
                spent.usage.puts,
                spent.usage.gets,
                spent.usage.cpu_seconds or 0.0,
            )
            for account, spent in entries.items()
        ]
        await self._database.write(lambda db: db.executemany(_ADD, rows))

    async def rows(self, by: str, *, since: date | None = None, project: str | None = None) -> list[CostRow]:
        """Sums by `by`, days in order, anything else the most expensive stored and moved bytes first.

        Raises `UsageError` for another grouping.
        """
        if by not in get_args(By):
            raise UsageError(f"there is no cost by {by}", hint=f"one of {', '.join(get_args(By))}")
        return await self._database.read(partial(_rows, by=by, since=since, project=project))

    async def cpu_s_per_byte(self) -> float | None:
        """CPU seconds per raw byte, both sides together; None before anything was processed here."""
        sides = await self._database.read(
            lambda db: dict(
                db.execute("SELECT side, sum(cpu_seconds) / sum(bytes) FROM spent GROUP BY side").fetchall()
            )
        )
        consume = sides.get("consume")
        return None if consume is None else consume + (sides.get("publish") or 0.0)


def _rows(db: sqlite3.Connection, *, by: str, since: date | None, project: str | None) -> list[CostRow]:
    order = "1" if by == "day" else "stored_bytes + transferred_bytes DESC, 1"
    found = db.execute(
        f"""SELECT {by}, sum(files * (side = 'publish')), sum(files * (side = 'consume')),
              sum(stored_bytes) AS stored_bytes, sum(transferred_bytes) AS transferred_bytes,
              sum(puts), sum(gets), sum(cpu_seconds)
            FROM spent WHERE day >= ? AND (? IS NULL OR project = ?)
            GROUP BY {by} ORDER BY {order}""",  # noqa: S608 - `by` is one of four words
        (since.isoformat() if since else "", project, project),
    )
    return [CostRow(key, published, processed, Usage(*usage)) for key, published, processed, *usage in found]


Charge = Callable[[str, str, Usage], None]


@asynccontextmanager
async def recording(
    meter: CostMeter,
    history: CostHistory,
    charge: Charge = lambda _project, _strategy, _usage: None,
    *,
    interval_s: float = FLUSH_S,
    sleep: Sleep = asyncio.sleep,
) -> AsyncIterator[None]:
    """Write the meter's figures to the history every `interval_s` seconds while inside, and at the end.

    `charge` sees each account's usage once it is written. A history that cannot be written is only
    logged, and written later: counting must never stop the work.
    """

    async def flush() -> None:
        taken = meter.take()
        if not taken:
            return
        try:
            await history.add(meter.side, taken)
        except ArchonError as error:
            meter.put_back(taken)
            logger.warning("the cost history is not written: %s", error)
            return
        for account, spent in taken.items():
            charge(account.project, account.strategy, spent.usage)

    async with flushing(flush, interval_s, sleep):
        yield
