"""What the embedded log does beyond the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BackendUnavailable, ConfigurationError, MessageTooLarge
from core.log.base import Headers, OutgoingMessage, Position, PublishFailure, TopicPartition
from core.log.embedded import EmbeddedLog
from core.log.embedded.tables import SCHEMA, message_bytes, pack_headers, unpack_headers
from tests.contract.event_log import browsed, numbered, publish, take, values

MIB = 1024 * 1024
WHERE = TopicPartition("orders", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
async def log(path: Path) -> AsyncIterator[EmbeddedLog]:
    async with EmbeddedLog(path, partitions=2) as log:
        yield log


async def test_a_topic_is_made_on_first_use(log: EmbeddedLog) -> None:
    assert await log.topics() == []
    await publish(log, "orders", numbered(1))
    assert await log.topics() == ["orders"]
    assert {lag.partition for lag in await log.lag("archon", ["orders"])} == {0, 1}


async def test_a_topic_keeps_the_partitions_it_has(log: EmbeddedLog) -> None:
    await log.create_topic("orders", 3)
    await log.create_topic("orders", 5)
    assert len(await log.lag("archon", ["orders"])) == 3


async def test_a_topic_can_be_consumed_before_it_is_published(log: EmbeddedLog) -> None:
    consumer = await log.consumer("archon", ["orders"], member_id="agent")
    await publish(log, "orders", numbered(1))
    assert values(await take(consumer, 1)) == [0]


async def test_messages_without_a_key_take_turns(log: EmbeddedLog) -> None:
    positions = await publish(log, "orders", numbered(10, partition=None))
    assert [position.partition for position in positions[:2]] in ([0, 1], [1, 0])
    assert [position.partition for position in positions] == [p.partition for p in positions[:2]] * 5


async def test_the_limit_counts_key_value_and_headers(path: Path) -> None:
    fits = OutgoingMessage(b"key", b"value", (("name", b"x"),))
    async with EmbeddedLog(path, max_message_bytes=message_bytes(fits)) as log:
        await publish(log, "orders", [fits])
        (failure,) = await log.publish("orders", [OutgoingMessage(b"key", b"value", (("name", b"xy"),))])
    assert isinstance(failure, PublishFailure)
    assert isinstance(failure.error, MessageTooLarge)
    assert str(failure.error) == "a message of 14 bytes exceeds the 13 that orders accepts"


async def test_lag_in_seconds_is_the_age_of_the_oldest_unread_message(path: Path) -> None:
    now = 1000.0
    async with EmbeddedLog(path, partitions=1, clock=lambda: now) as log:
        await publish(log, "orders", numbered(1))
        now += 10
        await publish(log, "orders", numbered(1))
        now += 2.5
        (lag,) = await log.lag("archon", ["orders"])
        assert lag.lag_seconds == 12.5
        consumer = await log.consumer("archon", ["orders"], member_id="agent")
        await consumer.commit({WHERE: 1})
        (lag,) = await log.lag("archon")
        assert lag.lag_seconds == 2.5
        now -= 100
        (lag,) = await log.lag("archon")
        assert lag.lag_seconds == 0


async def test_browsing_merges_partitions_by_time(path: Path) -> None:
    now = 1000.0
    async with EmbeddedLog(path, partitions=2, clock=lambda: now) as log:
        for n in range(6):
            await publish(log, "orders", [OutgoingMessage(None, str(n).encode(), partition=n % 2)])
            now += 1
        assert values(await browsed(log, "orders")) == [0, 1, 2, 3, 4, 5]
        assert values(await browsed(log, "orders", newest_first=True, limit=4)) == [5, 4, 3, 2]


async def test_nothing_is_browsed_read_or_deleted_where_no_topic_is(log: EmbeddedLog) -> None:
    assert await browsed(log, "orders") == []
    assert await log.read(Position("orders", 0, 0)) is None
    await log.delete_before(WHERE, 10)
    assert list(await log.lag("archon", ["orders"])) == []


async def test_a_poll_holds_no_more_bytes_than_it_may(log: EmbeddedLog) -> None:
    await publish(log, "orders", [OutgoingMessage(None, bytes(5 * MIB), partition=0) for _ in range(5)])
    consumer = await log.consumer("archon", ["orders"], member_id="agent")
    assert [len(await consumer.poll(10, 0.0)) for _ in range(2)] == [4, 1]


async def test_partitions_take_turns_at_being_first(log: EmbeddedLog) -> None:
    await publish(log, "orders", numbered(10, partition=0) + numbered(10, partition=1))
    consumer = await log.consumer("archon", ["orders"], member_id="agent")
    polls = [{message.partition for message in await consumer.poll(5, 0.0)} for _ in range(4)]
    assert polls == [{0}, {1}, {0}, {1}]


@pytest.mark.parametrize("disturb", ["seek", "pause"])
async def test_a_seek_or_pause_during_a_poll_decides_what_it_gives(log: EmbeddedLog, disturb: str) -> None:
    await publish(log, "orders", numbered(4))
    consumer = await log.consumer("archon", ["orders"], member_id="agent")
    polling = asyncio.create_task(consumer.poll(10, 30.0))
    await asyncio.sleep(0)
    if disturb == "seek":
        await consumer.seek(WHERE, 3)
        assert values(list(await polling)) == [3]
    else:
        consumer.pause(frozenset({WHERE}))
        await publish(log, "orders", numbered(1, partition=1))
        assert [message.partition for message in await polling] == [1]
        consumer.resume(frozenset({WHERE}))
        assert values(await take(consumer, 4)) == [0, 1, 2, 3]


async def test_a_cancelled_poll_loses_nothing(log: EmbeddedLog) -> None:
    await publish(log, "orders", numbered(3))
    consumer = await log.consumer("archon", ["orders"], member_id="agent")
    polling = asyncio.create_task(consumer.poll(10, 30.0))
    await asyncio.sleep(0)
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    assert values(await take(consumer, 3)) == [0, 1, 2]


async def test_an_idle_poll_looks_rarely(log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = await log.consumer("archon", ["orders"], member_id="agent")
    looks = 0
    read = log._store.reader.read

    async def counted(work: partial[object]) -> object:
        nonlocal looks
        looks += 1
        return await read(work)

    monkeypatch.setattr(log._store.reader, "read", counted)
    assert list(await consumer.poll(10, 0.3)) == []
    assert looks <= 12


async def test_closing_the_log_closes_its_consumers(path: Path) -> None:
    revoked: list[frozenset[TopicPartition]] = []
    async with EmbeddedLog(path, partitions=1) as log:
        consumer = await log.consumer("archon", ["orders"], member_id="agent")

        async def on_revoked(partitions: frozenset[TopicPartition]) -> None:
            revoked.append(partitions)
            await consumer.commit({WHERE: 0})

        consumer.on_revoked(on_revoked)
    assert revoked == [frozenset({WHERE})]
    async with EmbeddedLog(path) as log:
        assert [lag.committed for lag in await log.lag("archon")] == [0]
        await log.consumer("archon", ["orders"], member_id="next")


async def test_a_revoked_handler_that_fails_does_not_keep_the_partitions(log: EmbeddedLog) -> None:
    consumer = await log.consumer("archon", ["orders"], member_id="agent")

    async def on_revoked(_: frozenset[TopicPartition]) -> None:
        raise RuntimeError("handler")

    consumer.on_revoked(on_revoked)
    with pytest.raises(RuntimeError, match="handler"):
        await consumer.close()
    await log.consumer("archon", ["orders"], member_id="next")


async def test_a_log_keeps_its_name_and_another_has_another(path: Path) -> None:
    names = []
    for renamed in ("log.db", "log.db", "elsewhere.db"):
        async with EmbeddedLog(path.with_name(renamed)) as log:
            names.append(log.name)
    assert names[0] == names[1] != names[2]


# Trouble


async def test_a_full_disk_leaves_the_log_as_it_was(log: EmbeddedLog) -> None:
    await publish(log, "orders", numbered(2))
    await log._store.writer.run(lambda connection: connection.execute("PRAGMA max_page_count = 200"))
    with pytest.raises(BackendUnavailable, match="disk is full"):
        await log.publish("orders", [*numbered(1), OutgoingMessage(None, bytes(5 * MIB), partition=0)])
    assert values(await browsed(log, "orders")) == [0, 1]
    assert await publish(log, "orders", numbered(1)) == [Position("orders", 0, 2)]


async def test_a_closed_log_says_so(path: Path) -> None:
    async with EmbeddedLog(path) as log:
        pass
    with pytest.raises(BackendUnavailable, match="event log"):
        await log.publish("orders", numbered(1))


@pytest.fixture
def no_database(path: Path) -> None:
    path.write_bytes(b"no pages here " * 1000)


@pytest.mark.usefixtures("no_database")
async def test_a_damaged_file_is_named(path: Path) -> None:
    with pytest.raises(BackendUnavailable, match=r"event log .*log\.db is damaged"):
        async with EmbeddedLog(path):
            pass


def _damage(path: Path, from_page: int) -> None:
    at = from_page * SCHEMA.page_bytes
    content = path.read_bytes()
    path.write_bytes(content[:at] + b"\xff" * (len(content) - at))


async def test_damage_inside_the_file_is_named(path: Path) -> None:
    async with EmbeddedLog(path, partitions=1) as log:
        await publish(log, "orders", [OutgoingMessage(None, bytes(3000), partition=0) for _ in range(200)])
    _damage(path, from_page=9)
    async with EmbeddedLog(path) as log:
        with pytest.raises(BackendUnavailable, match="damaged: database disk image is malformed"):
            await browsed(log, "orders")


async def test_a_place_that_cannot_be_written_is_a_setting_to_change() -> None:
    with pytest.raises(ConfigurationError, match=r"event log /dev/null/log\.db cannot be written"):
        async with EmbeddedLog(Path("/dev/null/log.db")):
            pass


headers = st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.binary())).map(tuple)


@given(headers)
def test_headers_come_back_from_their_packing(given_headers: Headers) -> None:
    packed = pack_headers(given_headers)
    assert (unpack_headers(packed) if packed else ()) == given_headers


async def test_times_do_not_go_back_with_the_clock_of_the_machine(path: Path) -> None:
    now = [2_000.0, 1_000.0]
    for clock in now:
        async with EmbeddedLog(path, partitions=1, clock=lambda clock=clock: clock) as log:  # type: ignore[misc]
            await publish(log, "orders", numbered(1))
    async with EmbeddedLog(path) as log:
        messages = [message async for message in log.browse("orders")]
    assert [message.timestamp_ms for message in messages] == [2_000_000, 2_000_000]
    assert all(message.log_clock for message in messages)
