"""Rows are filtered and sorted in slices; the newest request wins, and nothing is lost or shown twice."""

from __future__ import annotations

import asyncio
import itertools

from hypothesis import given
from hypothesis import strategies as st

from archon_tui.rows import BUCKET, Rows


def shown(rows: Rows[int]) -> list[int]:
    return [rows[place] for place in range(len(rows))]


class Ticking:
    """A clock that a slice is over at every look at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


async def test_rows_show_in_the_order_they_came() -> None:
    rows: Rows[int] = Rows()
    rows.extend([3, 1])
    rows.extend([2])
    assert shown(rows) == [3, 1, 2]


@given(st.lists(st.integers()), st.lists(st.integers()), st.booleans())
def test_filtered_and_sorted_as_python_does(first: list[int], second: list[int], reverse: bool) -> None:
    async def arrange() -> list[int]:
        rows: Rows[int] = Rows()
        rows.extend(first)
        await rows.arrange(lambda row: row % 2 == 0, lambda row: row, reverse=reverse)
        rows.extend(second)
        if rows.is_behind:
            await rows.again()
        return shown(rows)

    wanted = sorted((row for row in first + second if row % 2 == 0), reverse=reverse)
    assert asyncio.run(arrange()) == wanted


async def test_many_rows_are_sorted_by_buckets_and_equal_ones_keep_their_order() -> None:
    rows: Rows[tuple[int, int]] = Rows()
    rows.replace((number * 7919 % 97, number) for number in range(5 * BUCKET))
    await rows.arrange(None, lambda row: row[0])
    order = [rows[place] for place in range(len(rows))]
    assert order == sorted(order)


async def test_work_gives_way_to_everything_else() -> None:
    pauses = itertools.count()

    async def pause() -> None:
        next(pauses)

    rows: Rows[int] = Rows(clock=Ticking(), pause=pause)
    rows.replace(range(10_000))
    await rows.arrange(lambda row: row > 5, lambda row: -row)
    assert next(pauses) > 50


async def test_the_newest_request_wins() -> None:
    resume, paused = asyncio.Event(), asyncio.Event()

    async def pause() -> None:
        paused.set()
        await resume.wait()

    rows: Rows[int] = Rows(clock=Ticking(), pause=pause)
    rows.replace(range(2000))
    older = asyncio.create_task(rows.arrange(lambda row: row < 10))
    await paused.wait()
    newer = asyncio.create_task(rows.arrange(lambda row: row >= 1995))
    await asyncio.sleep(0)
    resume.set()
    assert (await older, await newer) == (False, True)
    assert shown(rows) == [1995, 1996, 1997, 1998, 1999]


async def test_rows_that_come_while_sorting_are_not_lost() -> None:
    paused, resume = asyncio.Event(), asyncio.Event()

    async def pause() -> None:
        paused.set()
        await resume.wait()

    rows: Rows[int] = Rows(clock=Ticking(), pause=pause)
    rows.replace(range(1000))
    sorting = asyncio.create_task(rows.arrange(None, lambda row: -row))
    await paused.wait()
    rows.extend([5000])
    resume.set()
    await sorting
    assert rows.is_behind
    await rows.again()
    assert shown(rows)[0] == 5000
    assert len(rows) == 1001


async def test_finding_goes_round_once() -> None:
    rows: Rows[int] = Rows()
    rows.replace(range(10))
    assert await rows.find(lambda row: row == 3, 5, 1) == 3
    assert await rows.find(lambda row: row == 7, 5, -1) == 7
    assert await rows.find(lambda row: row == 99, 5, 1) is None
