"""Which of two requests for one path is newer, and the order of what messages write."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.batches import request_key
from core.events.dead_letter import Place, Redriven, redriven
from core.events.order import RequestPosition, position_in
from core.in_order import InOrder, Turn
from core.log.partitioner import partition_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(
    offset: int, *, partition: int = 0, requested: float = 0, logged: float = 0, log_clock: bool = True
) -> RequestPosition:
    """A position; times are minutes after noon."""
    return RequestPosition(
        requested_at=NOON + timedelta(minutes=requested),
        topic="requests",
        partition=partition,
        offset=offset,
        logged_at=NOON + timedelta(minutes=logged),
        log_clock=log_clock,
    )


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (at(1), at(2)),
        (at(1, requested=60), at(2)),  # the clock of the first publisher is ahead
        (at(1, logged=5), at(2)),  # the log's clock went back a little
        (at(1, logged=600, log_clock=False), at(2, log_clock=False)),  # CreateTime, a publisher's clock ahead
        (at(1, logged=600, log_clock=False), at(2)),  # CreateTime until the topic was mended
        (at(900), at(2, logged=11)),  # the topic was made anew
        (at(9, partition=1), at(2, logged=1)),  # partitions were added
        (at(9, partition=1), at(2, requested=1)),
    ],
)
def test_the_newer_request_is_told_from_the_older(older: RequestPosition, newer: RequestPosition) -> None:
    assert older.is_older_than(newer)
    assert not newer.is_older_than(older)


def test_a_request_is_not_older_than_itself() -> None:
    assert not at(3).is_older_than(at(3))


def test_a_position_travels_in_a_header() -> None:
    assert position_in((("other", b"x"), at(7, requested=1).header())) == at(7, requested=1)
    assert position_in((("archon.request", b"{"),)) is None
    assert position_in(()) is None


@given(st.text(), st.text(), st.integers(1, 12))
def test_every_request_for_a_path_goes_to_one_partition(project: str, path: str, partitions: int) -> None:
    name = project.encode("utf-8", "replace").decode()
    key = request_key(name, path)
    assert partition_of(key, partitions) == partition_of(request_key(name, path), partitions)


@pytest.mark.parametrize("partitions", [2, 6, 12])
def test_the_paths_of_one_project_spread_over_all_partitions(partitions: int) -> None:
    paths = [f"src/package_{n % 40}/module_{n}.py" for n in range(6000)]
    counts = [0] * partitions
    for path in paths:
        counts[partition_of(request_key("owner/name", path), partitions)] += 1
    assert min(counts) > 0.5 * len(paths) / partitions


HERE = Place("requests", 0, 10, 5_000)


@pytest.mark.parametrize(
    "origin",
    [
        Place("requests", 0, 10, 5_000),  # not before the message itself
        Place("requests", 0, 11, 5_000),
        Place("requests", 0, -1, 0),
    ],
)
def test_a_redrive_that_claims_to_come_from_the_future_is_not_believed(origin: Place) -> None:
    assert redriven(Redriven("letter", origin, 4).headers(), HERE) is None


@pytest.mark.parametrize("partition", [0, 1])
def test_a_time_of_a_publisher_whose_clock_was_ahead_counts_at_most_as_the_messages(partition: int) -> None:
    told = redriven(Redriven("letter", Place("requests", partition, 3, 9_000), 4).headers(), HERE)
    assert told
    assert told.origin == Place("requests", partition, 3, 5_000)


def test_a_redriven_message_keeps_the_place_of_its_request() -> None:
    told = Redriven("letter", Place("requests", 0, 3, 4_000), 9)
    assert redriven(told.headers(), HERE) == told


async def test_turns_of_one_key_are_taken_in_order_whoever_is_ready_first() -> None:
    queue, written = InOrder(), list[str]()
    ready = {name: asyncio.Event() for name in "abc"}

    async def work(name: str, turn: Turn) -> None:
        await ready[name].wait()
        async with turn.taken():
            written.append(name)

    tasks = [asyncio.create_task(work(name, queue.enter("key"))) for name in "abc"]
    other = queue.enter("other key")
    async with other.taken():
        written.append("other")
    for name in "cba":
        ready[name].set()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert written == ["other", "a", "b", "c"]


async def test_a_turn_that_is_given_up_lets_the_next_one_go_on_but_not_overtake() -> None:
    queue, written = InOrder(), list[str]()
    first, second, third = (queue.enter("key") for _ in range(3))

    async def write(name: str, turn: Turn) -> None:
        async with turn.taken():
            written.append(name)

    given_up = asyncio.create_task(write("second", second))
    last = asyncio.create_task(write("third", third))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    assert written == []
    await write("first", first)
    await last
    assert written == ["first", "third"]
