"""What the embedded log forgets, and that its file does not grow for ever."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.events.topics import AGENT_STATUS, COMPLETED, REQUESTED_V2, Retention, dead_letter_topic, retention
from core.log.base import LogMessage, OutgoingMessage, TopicPartition
from core.log.embedded import EmbeddedLog
from tests.contract.event_log import browsed, lag_at, numbered, publish, take, values

DAY_S = 24 * 60 * 60.0
MIB = 1024 * 1024


class Time:
    """A clock that stands still; sleepers wake when told."""

    def __init__(self) -> None:
        self.now = 1_763_812_800.0
        self.slept: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await self.slept.put(waking := asyncio.get_running_loop().create_future())
        await waking


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def log(tmp_path: Path, time: Time) -> AsyncIterator[EmbeddedLog]:
    async with EmbeddedLog(tmp_path / "log.db", partitions=1, clock=time.clock, sleep=time.sleep) as log:
        yield log


async def commit(log: EmbeddedLog, topic: str, offset: int, group: str = "archon") -> None:
    consumer = await log.consumer(group, [topic], member_id="reader")
    await consumer.commit({TopicPartition(topic, 0): offset})
    await consumer.close()


async def test_requests_go_when_they_are_old_and_read(log: EmbeddedLog, time: Time) -> None:
    await publish(log, REQUESTED_V2, numbered(3))
    time.now += 7 * DAY_S
    await publish(log, REQUESTED_V2, numbered(1))
    await commit(log, REQUESTED_V2, 2)
    time.now += 1
    await log.prune()
    assert [message.offset for message in await browsed(log, REQUESTED_V2)] == [2, 3]
    lag = await lag_at(log, "archon", TopicPartition(REQUESTED_V2, 0))
    assert (lag.begin, lag.end, lag.lag) == (2, 4, 2)


async def test_requests_nobody_read_stay(log: EmbeddedLog, time: Time) -> None:
    await publish(log, REQUESTED_V2, numbered(3))
    time.now += 1000 * DAY_S
    await log.prune()
    assert len(await browsed(log, REQUESTED_V2)) == 3


async def test_the_slowest_group_keeps_requests(log: EmbeddedLog, time: Time) -> None:
    await publish(log, REQUESTED_V2, numbered(3))
    await commit(log, REQUESTED_V2, 3)
    await commit(log, REQUESTED_V2, 1, group="slow")
    time.now += 8 * DAY_S
    await log.prune()
    assert [message.offset for message in await browsed(log, REQUESTED_V2)] == [1, 2]


@pytest.mark.parametrize(("topic", "days"), [(COMPLETED, 1), (dead_letter_topic(REQUESTED_V2), 30)])
async def test_other_topics_go_by_age_alone(log: EmbeddedLog, time: Time, topic: str, days: int) -> None:
    await publish(log, topic, numbered(40))
    time.now += days * DAY_S
    await publish(log, topic, numbered(1))
    await log.prune()
    assert len(await browsed(log, topic)) == 41
    time.now += 1
    await log.prune()
    assert len(await browsed(log, topic)) == 1


async def test_a_given_age_stands_in_for_every_topics_own(log: EmbeddedLog, time: Time) -> None:
    await publish(log, REQUESTED_V2, numbered(3))
    await publish(log, COMPLETED, numbered(3))
    await commit(log, REQUESTED_V2, 2)
    time.now += 1
    await log.prune(older_than_s=0)
    assert [message.offset for message in await browsed(log, REQUESTED_V2)] == [2]
    assert await browsed(log, COMPLETED) == []


async def test_a_compacted_topic_keeps_the_newest_of_each_key(log: EmbeddedLog, time: Time) -> None:
    for n in range(40):
        for agent in (b"one", b"two"):
            await publish(log, AGENT_STATUS, [OutgoingMessage(agent, str(n).encode())])
    await publish(log, AGENT_STATUS, [OutgoingMessage(b"two", None)])
    time.now += 1000 * DAY_S
    await publish(log, AGENT_STATUS, [OutgoingMessage(b"three", None)])
    await log.prune()
    kept = await browsed(log, AGENT_STATUS)
    assert [(message.key, message.value) for message in kept] == [(b"one", b"39"), (b"three", None)]


async def test_a_log_is_pruned_when_it_is_opened_and_every_hour(tmp_path: Path, time: Time) -> None:
    async with EmbeddedLog(tmp_path / "log.db", clock=time.clock, sleep=time.sleep) as log:
        await publish(log, COMPLETED, numbered(1))
    time.now += 2 * DAY_S
    time.slept = asyncio.Queue()
    async with EmbeddedLog(tmp_path / "log.db", clock=time.clock, sleep=time.sleep) as log:
        an_hour_passed = await time.slept.get()
        assert await browsed(log, COMPLETED) == []
        await publish(log, COMPLETED, numbered(1))
        time.now += 2 * DAY_S
        an_hour_passed.set_result(None)
        await time.slept.get()
        assert await browsed(log, COMPLETED) == []


async def test_a_log_that_cannot_be_pruned_says_so_and_goes_on(
    log: EmbeddedLog, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    an_hour_passed = await time.slept.get()
    await publish(log, COMPLETED, numbered(1))
    time.now += 2 * DAY_S
    await log._store.writer.run(lambda connection: connection.execute("PRAGMA query_only = ON"))
    with caplog.at_level(logging.WARNING):
        an_hour_passed.set_result(None)
        await time.slept.get()
    assert "old messages were not removed" in caplog.text
    assert len(await browsed(log, COMPLETED)) == 1


@pytest.mark.parametrize("deleted_to", [150, 200])
async def test_reading_goes_on_while_messages_are_removed(log: EmbeddedLog, deleted_to: int) -> None:
    await publish(log, "orders", numbered(200))
    seen: list[LogMessage] = []
    async for message in log.browse("orders"):
        if not seen:
            await log.delete_before(TopicPartition("orders", 0), deleted_to)
        seen.append(message)
    assert values(seen) == [*range(64), *range(deleted_to, 200)]


async def test_the_room_of_removed_messages_is_used_again(log: EmbeddedLog, time: Time) -> None:
    consumer = await log.consumer("archon", ["orders"], member_id="reader")
    for _ in range(12):
        await publish(log, "orders", [OutgoingMessage(None, random.randbytes(MIB)) for _ in range(5)])
        messages = await take(consumer, 5)
        await consumer.commit({messages[-1].where: messages[-1].offset + 1})
        time.now += 1
        await log.prune(older_than_s=0)
        assert await log.size_bytes() < 25 * MIB


async def test_the_file_shrinks_when_most_of_it_is_empty(log: EmbeddedLog, time: Time) -> None:
    for _ in range(6):
        await publish(log, COMPLETED, [OutgoingMessage(None, random.randbytes(5 * MIB)) for _ in range(2)])
    assert await log.size_bytes() > 60 * MIB
    time.now += 1
    await publish(log, "orders", numbered(1))
    await log.prune(older_than_s=0)
    assert values(await browsed(log, "orders")) == [0]
    await log._store.writer.run(
        lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    )
    assert await log.size_bytes() < 20 * MIB


def test_a_topic_without_a_rule_is_kept_like_requests() -> None:
    assert retention("anything") == Retention(7 * DAY_S, until_read=True)
