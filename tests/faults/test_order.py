"""Whatever is redelivered, redriven or published by two publishers, the newest request of a path stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.letter import DeadLetter
from core.log.base import OutgoingMessage, Position, PublishFailure
from core.log.embedded import EmbeddedLog
from core.log.kafka import KafkaLog
from core.results.index import ResultsIndex
from tests.faults.order_world import World
from tests.servers.kafka import GROUP, Broker

HOUR = 3600.0
PATHS = st.sampled_from(["a.py", "b.py", "c.py"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), PATHS, st.sampled_from([0.0, HOUR, -HOUR])),
        st.tuples(st.just("delete"), PATHS),
        st.tuples(st.just("process"), st.integers(1, 4)),
        st.tuples(st.just("crash"), st.integers(1, 5)),
        st.tuples(st.just("break"), PATHS),
        st.tuples(st.just("mend")),
        st.tuples(st.just("redrive")),
    ),
    max_size=25,
)


async def play(world: World, steps: Sequence[tuple[object, ...]]) -> None:
    """Do `steps`, let everything come to rest, and judge."""
    for step in steps:
        match step:
            case ("publish", str(path), float(ahead)):
                await world.publish(path, clock_ahead_s=ahead)
            case ("delete", str(path)):
                await world.publish(path, deleted=True)
            case ("process", int(count)):
                await world.process(count)
            case ("crash", int(lost)):
                world.crash(lost)
            case ("break", str(path)):
                world.analyzer.broken.add(path)
            case ("mend",):
                world.analyzer.broken.clear()
            case ("redrive",):
                await world.redrive()
    await world.settle()
    assert await world.in_topic() == world.newest
    assert await world.in_index() == world.newest


@asynccontextmanager
async def embedded_world() -> AsyncIterator[World]:
    with TemporaryDirectory() as directory:
        home = Path(directory)
        async with (
            EmbeddedLog(home / "log.sqlite", partitions=2) as log,
            ResultsIndex(home / "r.db") as index,
        ):
            yield World(log, index)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_topic_and_index_end_on_the_newest_request(steps: Sequence[tuple[object, ...]]) -> None:
    async def run() -> None:
        async with embedded_world() as world:
            await play(world, steps)

    asyncio.run(run())


@pytest.mark.slow
@pytest.mark.xdist_group(GROUP)
@pytest.mark.parametrize(
    "steps",
    [
        [("break", "a.py"), ("publish", "a.py", HOUR), ("process", 4), ("mend",), ("publish", "a.py", 0.0),
         ("process", 4), ("redrive",), ("process", 4)],
        [("break", "a.py"), ("publish", "a.py", 0.0), ("process", 4), ("mend",), ("delete", "a.py"),
         ("process", 4), ("redrive",)],
        [("publish", "a.py", HOUR), ("publish", "b.py", 0.0), ("publish", "a.py", -HOUR), ("process", 4),
         ("crash", 2), ("process", 1), ("delete", "b.py"), ("publish", "a.py", 0.0)],
        [("break", "b.py"), ("publish", "b.py", 0.0), ("process", 1), ("redrive",), ("process", 1), ("mend",),
         ("publish", "b.py", -HOUR), ("redrive",), ("crash", 3)],
    ],
)  # fmt: skip
async def test_on_kafka_too(kafka: Broker, tmp_path: Path, steps: Sequence[tuple[object, ...]]) -> None:
    broker = kafka.settings(create_topics=True, partitions=2)
    async with KafkaLog(broker) as log, ResultsIndex(tmp_path / "r.db") as index:
        await play(World(log, index), steps)


async def test_a_letter_that_newer_requests_replaced_is_closed_without_being_sent() -> None:
    async with embedded_world() as world:
        world.analyzer.broken.add("a.py")
        await world.publish("a.py")
        await world.process(1)
        world.analyzer.broken.clear()
        await world.publish("a.py")
        (letter,) = [letter async for letter in world.letters.list()]

        async def only() -> AsyncIterator[DeadLetter]:
            yield letter

        (redrive,) = [each async for each in world.letters.redrive_all(only())]
        assert (redrive.was_sent, redrive.superseded) == (False, 1)
        assert not [letter async for letter in world.letters.list()]


async def test_a_request_published_while_a_letter_is_redriven_still_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with embedded_world() as world:
        world.analyzer.broken.add("a.py")
        await world.publish("a.py")
        await world.process(1)
        world.analyzer.broken.clear()
        publish, between = world.log.publish, [True]

        async def publish_another_first(
            topic: str, messages: Sequence[OutgoingMessage]
        ) -> Sequence[Position | PublishFailure]:
            if topic == world.topic and between:
                between.clear()
                await world.publish("a.py")
            return await publish(topic, messages)

        monkeypatch.setattr(world.log, "publish", publish_another_first)
        await world.redrive()
        await world.settle()
        assert await world.in_topic() == await world.in_index() == world.newest


async def test_what_came_too_late_is_counted() -> None:
    async with embedded_world() as world:
        await world.publish("a.py")
        await world.publish("a.py")
        first, second = [message async for message in world.log.browse(world.topic)]
        await world.processor.process(second)
        outcome = await world.processor.process(first)
        assert (outcome.indexed, outcome.skipped, outcome.superseded) == (0, 1, 1)
        assert await world.in_topic() == await world.in_index() == world.newest
        world.analyzer.broken.add("a.py")
        outcome = await world.processor.process(first)
        assert (outcome.failed, outcome.superseded, outcome.dead_lettered) == (0, 1, 0)


async def test_a_redelivery_that_fails_halfway_does_not_bring_back_an_older_record() -> None:
    async with embedded_world() as world:
        for _ in range(2):
            await world.publish("a.py")
            await world.process(1)
        world.crash(2)
        await world.process(1)
        world.analyzer.broken.add("a.py")
        await world.process(1)
        assert [letter async for letter in world.letters.list()]
        assert await world.in_topic() == await world.in_index() == world.newest
