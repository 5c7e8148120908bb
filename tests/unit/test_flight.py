"""Callers that want the same thing share one flight, its answer and its error."""

from __future__ import annotations

import asyncio

import pytest

from core.cache.flight import SingleFlight


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Work:
    """Answers when told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self) -> str:
        self.calls += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "answer"


async def test_ten_callers_make_one_call() -> None:
    flight, work = SingleFlight[str, str](), Work()
    callers = [asyncio.create_task(flight.run("key", work)) for _ in range(10)]
    await settle()
    work.go.set()
    assert await asyncio.gather(*callers) == ["answer"] * 10
    assert work.calls == 1


async def test_other_keys_and_later_calls_fly_alone() -> None:
    flight, work = SingleFlight[str, str](), Work()
    work.go.set()
    await asyncio.gather(flight.run("a", work), flight.run("b", work))
    await flight.run("a", work)
    assert work.calls == 3


async def test_an_error_reaches_everybody_and_is_not_kept() -> None:
    flight = SingleFlight[str, str]()

    async def fail() -> str:
        await asyncio.sleep(0)
        raise LookupError("gone")

    callers = [asyncio.create_task(flight.run("key", fail)) for _ in range(3)]
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["gone"] * 3
    work = Work()
    work.go.set()
    assert await flight.run("key", work) == "answer"


async def test_a_cancelled_caller_leaves_the_others_waiting() -> None:
    flight, work = SingleFlight[str, str](), Work()
    first, second = (asyncio.create_task(flight.run("key", work)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    work.go.set()
    assert await second == "answer"
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (work.calls, work.cancelled) == (1, 0)


async def test_the_work_ends_with_its_last_caller() -> None:
    flight, work = SingleFlight[str, str](), Work()
    callers = [asyncio.create_task(flight.run("key", work)) for _ in range(2)]
    await settle()
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    await settle()
    assert work.cancelled == 1
    again = Work()
    again.go.set()
    assert await flight.run("key", again) == "answer"
