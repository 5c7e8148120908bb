"""What every `EventLog` must do. An adapter's test class inherits this and supplies its log."""

from __future__ import annotations

import asyncio
import multiprocessing
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.errors import ConfigurationError, MessageTooLarge, PermanentError
from core.log.base import (
    EventLog,
    LogConsumer,
    LogMessage,
    OutgoingMessage,
    PartitionLag,
    Position,
    PublishFailure,
    TopicPartition,
)
from core.log.partitioner import partition_of

LogFactory = Callable[[], EventLog]
PARTITIONS = 3
PATIENCE_S = 30.0


def unique(word: str) -> str:
    """A name no other test uses, for backends that outlive a test."""
    return f"{word}-{uuid.uuid4().hex[:12]}"


def numbered(count: int, *, partition: int | None = 0, key: bytes | None = None) -> list[OutgoingMessage]:
    """Messages whose values are their numbers."""
    return [OutgoingMessage(key, str(n).encode(), partition=partition) for n in range(count)]


async def publish(log: EventLog, topic: str, messages: Sequence[OutgoingMessage]) -> list[Position]:
    """Publish what must be acknowledged whole."""
    answers = await log.publish(topic, messages)
    assert len(answers) == len(messages)
    return [answer for answer in answers if isinstance(answer, Position) or pytest.fail(str(answer.error))]


async def take(consumer: LogConsumer, count: int) -> list[LogMessage]:
    """The next `count` messages, however many polls they take."""
    taken: list[LogMessage] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(taken) < count:
            taken += await consumer.poll(count - len(taken), 1.0)
    assert len(taken) == count
    return taken


async def lag_at(log: EventLog, group: str, where: TopicPartition) -> PartitionLag:
    """The group's place in one partition."""
    lags = await log.lag(group, [where.topic])
    return next(lag for lag in lags if TopicPartition(lag.topic, lag.partition) == where)


async def browsed(
    log: EventLog,
    topic: str,
    *,
    limit: int | None = None,
    newest_first: bool = False,
    starts: Mapping[int, int] | None = None,
) -> list[LogMessage]:
    """Everything `browse` gives."""
    browsing = log.browse(topic, limit=limit, newest_first=newest_first, starts=starts)
    return [message async for message in browsing]


def values(messages: Sequence[LogMessage]) -> list[int]:
    """The numbers that `numbered` put in."""
    return [int(message.value or b"") for message in messages]


def publish_alone(factory: LogFactory, topic: str, key: bytes, count: int) -> None:
    """A publisher of its own, with its own event loop: for a thread or a process."""

    async def run() -> None:
        async with factory() as log:
            for message in numbered(count, partition=None, key=key):
                await publish(log, topic, [message])

    asyncio.run(run())


class EventLogContract:
    """The suite. Backends are shared by the tests, so every test has topics and groups of its own."""

    shares_partitions: bool
    """Whether a second member of a group gets a share, or is refused."""

    @pytest.fixture
    def log_factory(self) -> LogFactory:
        """Makes logs on one backend; can be pickled."""
        raise NotImplementedError

    async def create_topic(self, log: EventLog, topic: str, partitions: int) -> None:
        """Make `topic`."""
        raise NotImplementedError

    @pytest.fixture
    async def log(self, log_factory: LogFactory) -> AsyncIterator[EventLog]:
        async with log_factory() as log:
            yield log

    @pytest.fixture
    async def topic(self, log: EventLog) -> str:
        topic = unique("topic")
        await self.create_topic(log, topic, PARTITIONS)
        return topic

    @pytest.fixture
    def group(self) -> str:
        return unique("group")

    # Publishing

    @pytest.mark.parametrize(
        "message",
        [
            OutgoingMessage(b"key", b"value"),
            OutgoingMessage(None, b"no key"),
            OutgoingMessage(b"", b""),
            OutgoingMessage(b"tombstone", None),
            OutgoingMessage(b"\xff\x00key", bytes(range(256))),
            OutgoingMessage(b"k", b"v", (("trace", b"\x00\xff"), ("trace", b""), ("ünï", b"second"))),
        ],
        ids=["plain", "no key", "empty", "tombstone", "binary", "headers"],
    )
    async def test_a_message_comes_back_byte_for_byte(
        self, log: EventLog, topic: str, group: str, message: OutgoingMessage
    ) -> None:
        (position,) = await publish(log, topic, [message])
        consumer = await log.consumer(group, [topic], member_id="reader")
        (read,) = await take(consumer, 1)
        assert (read.key, read.value, read.headers) == (message.key, message.value, message.headers)
        assert read.position == position
        assert await log.read(position) == read
        assert await browsed(log, topic) == [read]

    async def test_every_message_gets_its_position_in_order(self, log: EventLog, topic: str) -> None:
        messages = numbered(6, partition=0) + numbered(4, partition=2)
        positions = await publish(log, topic, messages)
        assert positions == [Position(topic, 0, n) for n in range(6)] + [
            Position(topic, 2, n) for n in range(4)
        ]

    async def test_publishing_nothing_is_fine(self, log: EventLog, topic: str) -> None:
        assert list(await log.publish(topic, [])) == []

    async def test_a_key_goes_where_kafkas_default_partitioner_sends_it(
        self, log: EventLog, topic: str
    ) -> None:
        keys = [f"project-{n}".encode() for n in range(20)]
        positions = await publish(log, topic, [OutgoingMessage(key, b"") for key in keys])
        assert [position.partition for position in positions] == [
            partition_of(key, PARTITIONS) for key in keys
        ]

    async def test_messages_of_one_key_stay_in_order(self, log: EventLog, topic: str, group: str) -> None:
        keys = [b"one", b"two", b"three", b"four"]
        for n in range(10):
            await publish(log, topic, [OutgoingMessage(key, str(n).encode()) for key in keys])
        messages = await take(await log.consumer(group, [topic], member_id="reader"), 40)
        for key in keys:
            of_key = [message for message in messages if message.key == key]
            assert values(of_key) == list(range(10))
            assert len({message.partition for message in of_key}) == 1

    async def test_an_oversize_message_fails_alone(self, log: EventLog, topic: str) -> None:
        limit = await log.max_message_bytes(topic)
        small = OutgoingMessage(None, b"small", partition=0)
        large = OutgoingMessage(None, bytes(limit - 1024), partition=0)
        too_large = OutgoingMessage(None, bytes(limit + 1), partition=0)
        answers = await log.publish(topic, [small, too_large, large])
        assert [answers[0], answers[2]] == [Position(topic, 0, 0), Position(topic, 0, 1)]
        assert isinstance(answers[1], PublishFailure)
        assert answers[1].index == 1
        assert isinstance(answers[1].error, MessageTooLarge)
        assert [len(message.value or b"") for message in await browsed(log, topic)] == [5, limit - 1024]

    async def test_a_partition_that_is_not_there_fails_alone(self, log: EventLog, topic: str) -> None:
        messages = [
            OutgoingMessage(None, b"x", partition=PARTITIONS),
            OutgoingMessage(None, b"y", partition=1),
        ]
        failure, position = await log.publish(topic, messages)
        assert isinstance(failure, PublishFailure)
        assert isinstance(failure.error, PermanentError)
        assert position == Position(topic, 1, 0)

    async def test_publishers_in_threads_lose_and_reorder_nothing(
        self, log: EventLog, log_factory: LogFactory, topic: str
    ) -> None:
        keys = [b"a", b"b", b"c", b"d"]
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(len(keys)) as threads:
            await asyncio.gather(
                *(loop.run_in_executor(threads, publish_alone, log_factory, topic, key, 25) for key in keys)
            )
        messages = await browsed(log, topic)
        for key in keys:
            assert values([message for message in messages if message.key == key]) == list(range(25))

    async def test_publishers_in_processes_lose_and_reorder_nothing(
        self, log: EventLog, log_factory: LogFactory, topic: str
    ) -> None:
        keys = [b"a", b"b"]
        context = multiprocessing.get_context("spawn")
        processes = [
            context.Process(target=publish_alone, args=(log_factory, topic, key, 25)) for key in keys
        ]
        for process in processes:
            process.start()
        for process in processes:
            await asyncio.to_thread(process.join, PATIENCE_S)
        assert [process.exitcode for process in processes] == [0] * len(keys)
        messages = await browsed(log, topic)
        for key in keys:
            assert values([message for message in messages if message.key == key]) == list(range(25))

    # Reading

    async def test_a_new_group_reads_every_partition_from_its_beginning(
        self, log: EventLog, topic: str, group: str
    ) -> None:
        for partition in range(PARTITIONS):
            await publish(log, topic, numbered(5, partition=partition))
        consumer = await log.consumer(group, [topic], member_id="reader")
        messages = await take(consumer, 5 * PARTITIONS)
        assert consumer.assignment() == {TopicPartition(topic, n) for n in range(PARTITIONS)}
        for partition in range(PARTITIONS):
            assert values([m for m in messages if m.partition == partition]) == list(range(5))

    async def test_a_poll_returns_at_most_what_was_asked(self, log: EventLog, topic: str, group: str) -> None:
        for partition in range(PARTITIONS):
            await publish(log, topic, numbered(5, partition=partition))
        consumer = await log.consumer(group, [topic], member_id="reader")
        read = 0
        async with asyncio.timeout(PATIENCE_S):
            while read < 5 * PARTITIONS:
                messages = await consumer.poll(4, 1.0)
                assert len(messages) <= 4
                read += len(messages)

    async def test_an_empty_poll_ends_after_its_timeout(self, log: EventLog, topic: str, group: str) -> None:
        consumer = await log.consumer(group, [topic], member_id="reader")
        async with asyncio.timeout(PATIENCE_S):
            assert list(await consumer.poll(10, 0.01)) == []

    async def test_a_waiting_poll_gets_what_another_log_publishes(
        self, log: EventLog, log_factory: LogFactory, topic: str, group: str
    ) -> None:
        consumer = await log.consumer(group, [topic], member_id="reader")
        waiting = asyncio.create_task(take(consumer, 1))
        async with log_factory() as other:
            await publish(other, topic, numbered(1))
        assert values(await waiting) == [0]

    async def test_a_consumer_of_several_topics_reads_them_all(
        self, log: EventLog, topic: str, group: str
    ) -> None:
        second = unique("topic")
        await self.create_topic(log, second, 1)
        await publish(log, topic, numbered(2))
        await publish(log, second, numbered(2))
        messages = await take(await log.consumer(group, [topic, second], member_id="reader"), 4)
        assert sorted({message.topic for message in messages}) == sorted([topic, second])

    async def test_a_paused_partition_waits_until_it_is_resumed(
        self, log: EventLog, topic: str, group: str
    ) -> None:
        consumer = await log.consumer(group, [topic], member_id="reader")
        await publish(log, topic, numbered(1, partition=0) + numbered(1, partition=1))
        await take(consumer, 2)
        paused = frozenset({TopicPartition(topic, 0)})
        consumer.pause(paused)
        await publish(log, topic, numbered(3, partition=0) + numbered(3, partition=1))
        assert {message.partition for message in await take(consumer, 3)} == {1}
        consumer.resume(paused)
        assert [(m.partition, int(m.value or b"")) for m in await take(consumer, 3)] == [
            (0, 0),
            (0, 1),
            (0, 2),
        ]

    async def test_a_poll_for_nothing_delivers_nothing_from_gained_partitions_either(
        self, log: EventLog, topic: str, group: str
    ) -> None:
        if not self.shares_partitions:
            return
        other = await log.consumer(group, [topic], member_id="other")
        full = await log.consumer(group, [topic], member_id="full")
        await publish(log, topic, [m for number in range(PARTITIONS) for m in numbered(5, partition=number)])
        await other.close()
        async with asyncio.timeout(PATIENCE_S):
            while len(full.assignment()) < PARTITIONS:
                assert list(await full.poll(0, 0.1)) == []
        assert list(await full.poll(0, 0.1)) == []
        assert len(await take(full, 5 * PARTITIONS)) == 5 * PARTITIONS

    async def test_commit_says_which_offsets_the_log_took(
        self, log: EventLog, topic: str, group: str
    ) -> None:
        consumer = await log.consumer(group, [topic], member_id="reader")
        await publish(log, topic, numbered(3, partition=0))
        await take(consumer, 3)
        ours = TopicPartition(topic, 0)
        stranger = TopicPartition(unique("other"), 0)
        assert dict(await consumer.commit({ours: 2, stranger: 9})) == {ours: 2}
        await consumer.close()
        assert dict(await consumer.commit({ours: 3})) == {}

    async def test_seek_reads_again_and_ahead(self, log: EventLog, topic: str, group: str) -> None:
        where = TopicPartition(topic, 0)
        await publish(log, topic, numbered(10))
        consumer = await log.consumer(group, [topic], member_id="reader")
        assert values(await take(consumer, 10)) == list(range(10))
        await consumer.seek(where, 2)
        assert values(await take(consumer, 8)) == list(range(2, 10))
        await consumer.seek(where, 9)
        assert values(await take(consumer, 1)) == [9]

    # Groups and offsets

    async def test_a_group_goes_on_from_its_commit(self, log: EventLog, topic: str, group: str) -> None:
        await publish(log, topic, numbered(5))
        first = await log.consumer(group, [topic], member_id="first")
        await take(first, 5)
        await first.commit({TopicPartition(topic, 0): 3})
        await first.close()
        second = await log.consumer(group, [topic], member_id="second")
        assert values(await take(second, 2)) == [3, 4]

    async def test_what_was_polled_and_not_committed_is_delivered_again(
        self, log: EventLog, topic: str, group: str
    ) -> None:
        await publish(log, topic, numbered(3))
        first = await log.consumer(group, [topic], member_id="first")
        await take(first, 3)
        await first.close()
        second = await log.consumer(group, [topic], member_id="second")
        assert values(await take(second, 3)) == [0, 1, 2]

    async def test_groups_do_not_notice_each_other(self, log: EventLog, topic: str, group: str) -> None:
        await publish(log, topic, numbered(3))
        other = unique("group")
        for name in (group, other):
            consumer = await log.consumer(name, [topic], member_id="reader")
            assert values(await take(consumer, 3)) == [0, 1, 2]
            await consumer.commit({TopicPartition(topic, 0): 3})
        assert {group, other} <= set(await log.groups())

    async def test_a_commit_goes_back_only_after_a_seek(self, log: EventLog, topic: str, group: str) -> None:
        where = TopicPartition(topic, 0)
        await publish(log, topic, numbered(5))
        consumer = await log.consumer(group, [topic], member_id="reader")
        await take(consumer, 5)
        await consumer.commit({where: 5})
        await consumer.commit({where: 2})
        assert (await lag_at(log, group, where)).committed == 5
        await consumer.seek(where, 2)
        await consumer.commit({where: 2})
        assert (await lag_at(log, group, where)).committed == 2

    async def test_commits_and_seeks_of_partitions_not_ours_are_left_out(
        self, log: EventLog, topic: str, group: str
    ) -> None:
        other = unique("topic")
        await self.create_topic(log, other, 1)
        await publish(log, topic, numbered(2))
        consumer = await log.consumer(group, [topic], member_id="reader")
        await take(consumer, 2)
        await consumer.seek(TopicPartition(other, 0), 0)
        await consumer.commit({TopicPartition(topic, 0): 2, TopicPartition(other, 0): 7})
        assert (await lag_at(log, group, TopicPartition(topic, 0))).committed == 2
        assert (await lag_at(log, group, TopicPartition(other, 0))).committed is None

    async def test_a_second_member_is_refused_or_gets_a_share(
        self, log: EventLog, log_factory: LogFactory, topic: str, group: str
    ) -> None:
        first = await log.consumer(group, [topic], member_id="agent-1")
        async with log_factory() as other_log:
            if not self.shares_partitions:
                with pytest.raises(ConfigurationError, match="agent-1") as caught:
                    await other_log.consumer(group, [topic], member_id="agent-2")
                assert caught.value.hint
                await first.close()
            second = await other_log.consumer(group, [topic], member_id="agent-2")
            members = [second] if first.assignment() == frozenset() else [first, second]
            everything = {TopicPartition(topic, n) for n in range(PARTITIONS)}
            async with asyncio.timeout(PATIENCE_S):
                while not _is_split(everything, members):
                    for member in members:
                        await member.poll(1, 0.05)

    async def test_closing_revokes_first_and_commits_inside_count(
        self, log: EventLog, topic: str, group: str
    ) -> None:
        await publish(log, topic, numbered(3))
        consumer = await log.consumer(group, [topic], member_id="reader")
        await take(consumer, 3)
        held = consumer.assignment()
        revoked: list[frozenset[TopicPartition]] = []

        async def on_revoked(partitions: frozenset[TopicPartition]) -> None:
            revoked.append(partitions)
            await consumer.commit({TopicPartition(topic, 0): 3})

        consumer.on_revoked(on_revoked)
        await consumer.close()
        assert revoked == [held]
        assert consumer.assignment() == frozenset()
        assert (await lag_at(log, group, TopicPartition(topic, 0))).committed == 3

    async def test_closing_twice_is_fine_and_ends_polling(
        self, log: EventLog, topic: str, group: str
    ) -> None:
        await publish(log, topic, numbered(1))
        consumer = await log.consumer(group, [topic], member_id="reader")
        await consumer.close()
        await consumer.close()
        assert list(await consumer.poll(10, PATIENCE_S)) == []

    async def test_closing_ends_a_waiting_poll(self, log: EventLog, topic: str, group: str) -> None:
        consumer = await log.consumer(group, [topic], member_id="reader")
        waiting = asyncio.create_task(consumer.poll(1, 10 * PATIENCE_S))
        await asyncio.sleep(0)
        await consumer.close()
        async with asyncio.timeout(PATIENCE_S):
            assert list(await waiting) == []

    # Lag

    async def test_lag_counts_what_is_not_committed(self, log: EventLog, topic: str, group: str) -> None:
        where = TopicPartition(topic, 0)
        await publish(log, topic, numbered(5))
        before = await lag_at(log, group, where)
        assert (before.committed, before.begin, before.end, before.lag) == (None, 0, 5, 5)
        consumer = await log.consumer(group, [topic], member_id="reader")
        await take(consumer, 5)
        await consumer.commit({where: 3})
        midway = await lag_at(log, group, where)
        assert (midway.committed, midway.lag) == (3, 2)
        assert midway.lag_seconds is None or midway.lag_seconds >= 0
        await consumer.commit({where: 5})
        after = await lag_at(log, group, where)
        assert (after.lag, after.lag_seconds) == (0, 0)

    async def test_lag_covers_the_topics_a_group_committed_to(
        self, log: EventLog, topic: str, group: str
    ) -> None:
        assert list(await log.lag(group)) == []
        consumer = await log.consumer(group, [topic], member_id="reader")
        await publish(log, topic, numbered(1))
        await take(consumer, 1)
        await consumer.commit({TopicPartition(topic, 0): 1})
        lags = await log.lag(group)
        assert [(lag.topic, lag.partition, lag.lag) for lag in lags] == [
            (topic, n, 0) for n in range(PARTITIONS)
        ]

    # Outside any group

    async def test_topics_are_listed(self, log: EventLog, topic: str) -> None:
        assert topic in await log.topics()

    async def test_browsing_gives_everything_up_to_now_in_order(self, log: EventLog, topic: str) -> None:
        for partition in (0, 1):
            await publish(log, topic, numbered(450, partition=partition))
        messages = await browsed(log, topic)
        assert len(messages) == 900
        for partition in (0, 1):
            assert values([m for m in messages if m.partition == partition]) == list(range(450))

    async def test_browsing_backwards_gives_the_newest_first(self, log: EventLog, topic: str) -> None:
        await publish(log, topic, numbered(150))
        assert values(await browsed(log, topic, newest_first=True)) == list(range(149, -1, -1))

    async def test_browsing_stops_at_its_limit(self, log: EventLog, topic: str) -> None:
        await publish(log, topic, numbered(150))
        assert values(await browsed(log, topic, limit=70)) == list(range(70))
        assert values(await browsed(log, topic, limit=70, newest_first=True)) == list(range(149, 79, -1))
        assert await browsed(log, topic, limit=0) == []

    async def test_browsing_starts_where_it_is_told_to(self, log: EventLog, topic: str) -> None:
        await publish(log, topic, numbered(10))
        await publish(log, topic, numbered(2, partition=1))
        assert values(await browsed(log, topic, starts={0: 7, 1: 2})) == [7, 8, 9]
        assert values(await browsed(log, topic, starts={0: 7, 1: 2}, newest_first=True)) == [9, 8, 7]
        assert await browsed(log, topic, starts={0: 10, 1: 2}) == []

    async def test_a_start_that_is_gone_or_not_there_yet_leaves_out_nothing(
        self, log: EventLog, topic: str
    ) -> None:
        await publish(log, topic, numbered(5))
        await log.delete_before(TopicPartition(topic, 0), 3)
        assert values(await browsed(log, topic, starts={0: 1})) == [3, 4]
        assert values(await browsed(log, topic, starts={0: 99})) == [3, 4]

    async def test_browsing_and_reading_move_no_group(self, log: EventLog, topic: str, group: str) -> None:
        (position,) = await publish(log, topic, numbered(1))
        await browsed(log, topic)
        await log.read(position)
        assert (await lag_at(log, group, TopicPartition(topic, 0))).committed is None

    async def test_an_empty_topic_has_nothing_to_browse(self, log: EventLog, topic: str) -> None:
        assert await browsed(log, topic) == []
        assert await browsed(log, topic, newest_first=True) == []

    async def test_reading_finds_one_message_or_none(self, log: EventLog, topic: str) -> None:
        positions = await publish(log, topic, numbered(3))
        middle = await log.read(positions[1])
        assert middle is not None
        assert middle.value == b"1"
        assert await log.read(Position(topic, 0, 3)) is None

    async def test_deleting_moves_the_beginning_and_reuses_no_offset(
        self, log: EventLog, topic: str, group: str
    ) -> None:
        where = TopicPartition(topic, 0)
        positions = await publish(log, topic, numbered(5))
        await log.delete_before(where, 3)
        assert values(await browsed(log, topic)) == [3, 4]
        assert await log.read(positions[2]) is None
        lag = await lag_at(log, group, where)
        assert (lag.begin, lag.end, lag.lag) == (3, 5, 2)
        consumer = await log.consumer(group, [topic], member_id="reader")
        assert values(await take(consumer, 2)) == [3, 4]
        await log.delete_before(where, 5)
        assert await publish(log, topic, numbered(1)) == [Position(topic, 0, 5)]


def _is_split(everything: set[TopicPartition], members: Sequence[LogConsumer]) -> bool:
    """Whether `members` hold everything, nothing twice, and each something."""
    held = [where for member in members for where in member.assignment()]
    return sorted(held) == sorted(everything) and all(member.assignment() for member in members)
