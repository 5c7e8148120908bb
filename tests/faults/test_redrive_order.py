"""A redriven letter loses to a newer request of its paths, wherever that request stands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from core.batches import request_key
from core.dead_letters import Redrive
from core.events.topics import FILE_INTELLIGENCE
from core.letter import DeadLetter
from core.log.base import LogMessage, OutgoingMessage, Position, PublishFailure
from core.log.partitioner import partition_of
from core.results.topic import record_key
from tests.faults.order_world import World
from tests.faults.test_order import embedded_world

PATH = "a.py"


async def die(world: World, path: str = PATH) -> None:
    """Publish a request for `path` that ends as a dead letter."""
    world.analyzer.broken.add(path)
    await world.publish(path)
    await world.process(1)
    world.analyzer.broken.clear()


async def redrive(world: World) -> list[Redrive]:
    async def letters() -> AsyncIterator[DeadLetter]:
        async for letter in world.letters.list():
            yield letter

    return [each async for each in world.letters.redrive_all(letters())]


def before_the_next_request(
    world: World, monkeypatch: pytest.MonkeyPatch, step: Callable[[], Awaitable[None]]
) -> None:
    """Do `step` just before the next message goes to the request topic: the letters are chosen by then."""
    publish, once = world.log.publish, [True]

    async def publish_later(
        topic: str, messages: Sequence[OutgoingMessage]
    ) -> Sequence[Position | PublishFailure]:
        if topic == world.topic and once:
            once.clear()
            await step()
        return await publish(topic, messages)

    monkeypatch.setattr(world.log, "publish", publish_later)


async def test_however_much_is_published_while_a_letter_is_redriven(monkeypatch: pytest.MonkeyPatch) -> None:
    async with embedded_world() as world:
        await die(world)
        key = request_key(world.project, PATH)

        async def publish_much() -> None:
            await world.publish(PATH)
            await world.log.publish(world.topic, [OutgoingMessage(key, b"malformed")] * 1001)

        before_the_next_request(world, monkeypatch, publish_much)
        await redrive(world)
        messages = [each async for each in world.log.browse(world.topic)]
        for message in (each for each in messages if each.value != b"malformed"):
            await world.processor.process(message)
        assert await world.in_topic() == await world.in_index() == world.newest


async def test_letters_sent_later_are_searched_again_up_to_then(monkeypatch: pytest.MonkeyPatch) -> None:
    async with embedded_world() as world:
        for path in (PATH, "b.py", "c.py"):
            await die(world, path)

        async def publish_all() -> None:
            for path in (PATH, "b.py", "c.py"):
                await world.publish(path)

        before_the_next_request(world, monkeypatch, publish_all)
        done = await redrive(world)
        assert [each.was_sent for each in done] == [True, False, False]
        await world.settle()
        assert await world.in_topic() == await world.in_index() == world.newest


async def test_a_newer_request_that_waits_in_another_partition() -> None:
    async with embedded_world() as world:
        await die(world)
        await world.publish(PATH)
        mine = partition_of(request_key(world.project, PATH), 2)
        (newer,) = [each async for each in world.log.browse(world.topic) if each.offset == 1]
        assert newer.partition == mine
        await world.log.publish(world.topic, [OutgoingMessage(b"old:1", newer.value, partition=1 - mine)])
        await world.log.delete_before(newer.where, 2)  # only the one under another key is left
        assert [(each.was_sent, each.superseded) for each in await redrive(world)] == [(False, 1)]


async def test_a_newer_record_that_an_older_archon_wrote_without_a_position() -> None:
    async with embedded_world() as world:
        await die(world)
        (letter,) = [each async for each in world.letters.list()]
        record = OutgoingMessage(record_key(world.project, PATH), b"{}")
        while (await _last(world, record)).timestamp_ms <= letter.message.timestamp_ms:
            pass  # the log counts in milliseconds
        assert [(each.was_sent, each.superseded) for each in await redrive(world)] == [(False, 1)]


async def _last(world: World, message: OutgoingMessage) -> LogMessage:
    await world.log.publish(FILE_INTELLIGENCE, [message])
    async for each in world.log.browse(FILE_INTELLIGENCE, limit=1, newest_first=True):
        return each
    raise AssertionError
