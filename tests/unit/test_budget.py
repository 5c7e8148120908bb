"""The byte budget: never more held than allowed, nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest

from core.budget import Budget


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_holders_never_exceed_the_limit_and_all_finish() -> None:
    budget = Budget(100)
    peak = 0

    async def hold(size: int) -> None:
        nonlocal peak
        async with budget.holding(size):
            peak = max(peak, budget.held)
            await asyncio.sleep(0)

    await asyncio.gather(*(hold(size) for size in (10, 60, 30, 100, 0, 45, 45, 1) * 5))
    assert 90 <= peak <= 100
    assert budget.held == 0


async def test_more_than_everything_waits_to_be_alone() -> None:
    budget = Budget(10)
    release = asyncio.Event()
    alone = asyncio.Event()

    async def small() -> None:
        async with budget.holding(1):
            await release.wait()

    async def huge() -> None:
        async with budget.holding(1000):
            alone.set()

    tasks = [asyncio.create_task(small()), asyncio.create_task(huge())]
    await settle()
    assert not alone.is_set()
    release.set()
    await asyncio.gather(*tasks)
    assert alone.is_set()


async def test_a_cancelled_waiter_and_a_failed_holder_give_everything_back() -> None:
    budget = Budget(10)

    async def fail() -> None:
        async with budget.holding(10):
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with budget.holding(10):
        waiter = asyncio.create_task(fail())
        await settle()
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
    async with budget.holding(10):
        assert budget.held == 10
    assert budget.held == 0
