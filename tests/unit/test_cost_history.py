"""The local history of usage, and how it is fed."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from pathlib import Path
from typing import get_args

import pytest

from core.errors import BackendUnavailable, UsageError
from core.history.costs import By, CostHistory, recording
from core.progress import FileAnalyzed
from core.telemetry.cost import Usage
from core.telemetry.cost_meter import Account, CostMeter, Spent

A = Account("alpha", "inline", "job-1")
B = Account("beta", "object_storage", "job-2")
MONDAY = date(2026, 3, 2)


class Calendar:
    def __init__(self, today: date = MONDAY) -> None:
        self.today = today

    def __call__(self) -> date:
        return self.today


def spent(scale: int) -> Spent:
    usage = Usage(
        stored_bytes=scale, transferred_bytes=2 * scale, puts=3 * scale, gets=4 * scale, cpu_seconds=0.5
    )
    return Spent(scale, 10 * scale, usage)


async def test_entries_of_a_day_add_up(tmp_path: Path) -> None:
    async with CostHistory(tmp_path / "cost.sqlite", today=Calendar()) as history:
        await history.add("consume", {A: spent(1)})
        await history.add("consume", {A: spent(10)})
        await history.add("publish", {A: Spent(5)})
        (row,) = await history.rows("project")
    assert (row.key, row.published_files, row.processed_files) == ("alpha", 5, 11)
    assert row.usage == Usage(11, 22, 33, 44, 1.0)


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("project", ["beta", "alpha"]),
        ("strategy", ["object_storage", "inline"]),
        ("job", ["job-2", "job-1"]),
        ("day", ["2026-03-02", "2026-03-03"]),
    ],
)
async def test_groupings(tmp_path: Path, by: By, keys: list[str]) -> None:
    today = Calendar()
    async with CostHistory(tmp_path / "cost.sqlite", today=today) as history:
        await history.add("consume", {A: spent(1)})
        today.today += timedelta(days=1)
        await history.add("consume", {B: spent(100)})
        assert [row.key for row in await history.rows(by)] == keys


async def test_since_and_project_narrow(tmp_path: Path) -> None:
    today = Calendar()
    async with CostHistory(tmp_path / "cost.sqlite", today=today) as history:
        await history.add("consume", {A: spent(1), B: spent(1)})
        today.today += timedelta(days=1)
        await history.add("consume", {A: spent(1)})
        assert [row.processed_files for row in await history.rows("project", since=today.today)] == [1]
        assert [row.key for row in await history.rows("project", project="beta")] == ["beta"]


async def test_another_grouping_is_a_usage_error(tmp_path: Path) -> None:
    async with CostHistory(tmp_path / "cost.sqlite") as history:
        with pytest.raises(UsageError, match="colour") as caught:
            await history.rows("colour; DROP TABLE spent")
        assert all(word in (caught.value.hint or "") for word in get_args(By))


async def test_old_entries_are_dropped_when_opened(tmp_path: Path) -> None:
    today = Calendar()
    async with CostHistory(tmp_path / "cost.sqlite", today=today) as history:
        await history.add("consume", {A: spent(1)})
    today.today += timedelta(days=401)
    async with CostHistory(tmp_path / "cost.sqlite", today=today) as history:
        assert await history.rows("day") == []


async def test_cpu_per_byte_is_unknown_until_something_was_processed(tmp_path: Path) -> None:
    async with CostHistory(tmp_path / "cost.sqlite") as history:
        await history.add("publish", {A: Spent(1, 1000, Usage(cpu_seconds=0.5))})
        assert await history.cpu_s_per_byte() is None
        await history.add("consume", {A: Spent(1, 1000, Usage(cpu_seconds=2.0))})
        assert await history.cpu_s_per_byte() == pytest.approx(0.0025)


class Ticks:
    """A sleep that ends when told."""

    def __init__(self) -> None:
        self.slept = asyncio.Queue[None]()
        self.wake = asyncio.Queue[None]()

    async def __call__(self, _seconds: float) -> None:
        self.slept.put_nowait(None)
        await self.wake.get()


async def test_recording_writes_every_interval_and_at_the_end(tmp_path: Path) -> None:
    charged: list[str] = []
    meter = CostMeter("consume", cpu=lambda: 0.0)
    ticks = Ticks()
    async with CostHistory(tmp_path / "cost.sqlite") as history:
        async with recording(meter, history, lambda *who: charged.append(who[0]), sleep=ticks):
            await ticks.slept.get()
            meter(FileAnalyzed("alpha", "a", 10, 0.1, "inline", "j"))
            ticks.wake.put_nowait(None)
            await ticks.slept.get()
            (row,) = await history.rows("project")
            assert row.processed_files == 1
            meter(FileAnalyzed("alpha", "b", 10, 0.1, "inline", "j"))
        (row,) = await history.rows("project")
    assert row.processed_files == 2
    assert charged == ["alpha", "alpha"]


async def test_a_history_that_cannot_be_written_keeps_its_turn(tmp_path: Path) -> None:
    meter = CostMeter("consume", cpu=lambda: 0.0)
    ticks = Ticks()
    history = CostHistory(tmp_path / "cost.sqlite")  # not open yet
    with pytest.raises(BackendUnavailable):
        await history.add("consume", {A: spent(1)})
    async with recording(meter, history, sleep=ticks):
        await ticks.slept.get()
        meter(FileAnalyzed("alpha", "a", 10, 0.1, "inline", "j"))
        ticks.wake.put_nowait(None)
        await ticks.slept.get()
        await history.__aenter__()
    assert [row.processed_files for row in await history.rows("project")] == [1]
    await history.__aexit__()
