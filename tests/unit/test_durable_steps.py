"""Steps that are repeated until they succeed, many at once."""

from __future__ import annotations

import asyncio

import pytest

from core.durable_steps import DurableSteps
from core.errors import BackendUnavailable


class Backend:
    """Refuses until it is told to answer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answers = asyncio.Event()
        self.asked = asyncio.Event()

    async def step(self) -> None:
        self.asked.set()
        if not self.answers.is_set():
            raise BackendUnavailable(f"{self.name} is down")


async def test_one_step_that_succeeds_does_not_hide_another_that_is_stuck() -> None:
    down, up = Backend("letters"), Backend("results")

    async def wait(_attempt: int) -> None:
        await asyncio.sleep(0)

    steps = DurableSteps(wait=wait)
    stuck = asyncio.create_task(steps.run("dead letter", down.step))
    await down.asked.wait()
    up.answers.set()
    await steps.run("results", up.step)
    assert steps.blocked == "dead letter: letters is down"
    down.answers.set()
    await stuck
    assert steps.blocked is None


async def test_a_step_that_is_given_up_or_cancelled_blocks_nothing_any_more() -> None:
    async def wait(_attempt: int) -> None:
        await asyncio.sleep(0)

    steps = DurableSteps(attempts=2, wait=wait)
    with pytest.raises(BackendUnavailable):
        await steps.run("results", Backend("results").step)
    assert steps.blocked is None
    waiting = asyncio.Event()

    async def wait_long(_attempt: int) -> None:
        waiting.set()
        await asyncio.Event().wait()

    forever = DurableSteps(wait=wait_long)
    task = asyncio.create_task(forever.run("results", Backend("results").step))
    await waiting.wait()
    assert forever.blocked == "results: results is down"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert forever.blocked is None
