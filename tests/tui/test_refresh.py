"""Polling: one question at a time, no stale answers, and a dead source keeps its last value."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from archon_tui.refresh import Coordinator, Reading, Source
from core.errors import BackendUnavailable


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def settle() -> None:
    """Let the tasks that are ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


def source(ask: Callable[[], Awaitable[int]], told: list[Reading[int]], **options: float) -> Source[int]:
    return Source("it", ask, told.append, **options)


async def test_a_source_is_asked_when_its_time_has_come() -> None:
    clock, told = Clock(), list[Reading[int]]()
    coordinator = Coordinator(clock=clock)

    async def ask() -> int:
        return len(told)

    coordinator.show([source(ask, told, every_s=2.0)])
    await settle()
    coordinator.tick()
    await settle()
    assert [reading.value for reading in told] == [0]
    clock.now = 2.0
    coordinator.tick()
    await settle()
    assert [reading.value for reading in told] == [0, 1]


async def test_overlapping_questions_are_not_asked() -> None:
    clock, asked, answer = Clock(), list[int](), asyncio.Event()
    coordinator = Coordinator(clock=clock)

    async def ask() -> int:
        asked.append(1)
        await answer.wait()
        return 1

    coordinator.show([source(ask, [], every_s=1.0)])
    for _ in range(3):
        clock.now += 1.0
        coordinator.tick()
        await settle()
    assert len(asked) == 1
    await coordinator.close()


async def test_an_answer_to_an_old_question_is_dropped() -> None:
    told, gates = list[Reading[int]](), [asyncio.Event(), asyncio.Event()]
    numbers = iter(range(2))
    coordinator = Coordinator(clock=Clock())

    async def ask() -> int:
        number = next(numbers)
        try:
            await gates[number].wait()
        except asyncio.CancelledError:
            return number  # a source that answers although it was told to stop
        return number

    coordinator.show([source(ask, told)])
    await settle()
    coordinator.again()
    gates[1].set()
    await settle()
    assert [reading.value for reading in told] == [1]


async def test_nothing_is_asked_while_paused() -> None:
    told = list[Reading[int]]()
    coordinator = Coordinator(clock=Clock())
    coordinator.paused = True

    async def ask() -> int:
        return 1

    coordinator.show([source(ask, told)])
    await settle()
    assert not told
    coordinator.paused = False
    coordinator.tick()
    await settle()
    assert told


async def test_a_source_that_goes_away_is_stale_and_comes_back() -> None:
    clock, told = Clock(), list[Reading[int]]()
    coordinator = Coordinator(clock=clock)
    answers: list[int | Exception] = [7, BackendUnavailable("no broker", hint="start it"), 8]

    async def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    coordinator.show([source(ask, told, every_s=1.0)])
    for _ in range(3):
        coordinator.tick()
        await settle()
        clock.now += 1.0
    assert [(reading.value, reading.is_live) for reading in told] == [(7, True), (7, False), (8, True)]
    assert (told[1].error, told[1].hint, told[1].age(clock.now)) == ("no broker", "start it", 3.0)


async def test_a_source_that_does_not_answer_is_given_up() -> None:
    told = list[Reading[int]]()
    coordinator = Coordinator(clock=Clock())

    async def ask() -> int:
        await asyncio.Event().wait()
        return 1

    it = source(ask, told, deadline_s=0.0)
    coordinator.show([it])
    assert it.task
    await asyncio.wait([it.task])
    assert told[0].error == "it: no answer within 0 s"
    assert not told[0].is_live


async def test_an_unexpected_error_is_shown_and_not_raised() -> None:
    told = list[Reading[int]]()
    coordinator = Coordinator(clock=Clock())

    async def ask() -> int:
        raise ZeroDivisionError("oops")

    coordinator.show([source(ask, told)])
    await settle()
    assert told[0].error == "it: ZeroDivisionError: oops"
