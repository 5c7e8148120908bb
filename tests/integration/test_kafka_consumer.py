"""What a member of a Kafka group does while others come, go and take over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient

from core.errors import BackendUnavailable
from core.log.base import LogConsumer, LogMessage, OutgoingMessage, TopicPartition
from core.log.kafka import KafkaLog
from core.log.kafka.setup import TopicSpec
from tests.servers.kafka import GROUP, Broker

pytestmark = pytest.mark.xdist_group(GROUP)

PATIENCE_S = 40.0


@pytest.fixture
async def log(kafka_groups: Broker) -> AsyncIterator[KafkaLog]:
    async with KafkaLog(kafka_groups.settings(session_timeout="6s")) as log:
        yield log


@pytest.fixture
def group() -> str:
    return f"group-{uuid4().hex}"


async def create(log: KafkaLog, partitions: int) -> str:
    topic = f"topic-{uuid4().hex}"
    await log.admin.create([TopicSpec(topic, partitions, {})], None)
    return topic


async def publish(log: KafkaLog, topic: str, count: int, partition: int = 0) -> None:
    await log.publish(topic, [OutgoingMessage(None, str(n).encode(), (), partition) for n in range(count)])


async def poll_until(members: Sequence[LogConsumer], met: Callable[[], bool]) -> list[LogMessage]:
    """Poll every member until `met`; what they got."""
    got: list[LogMessage] = []
    async with asyncio.timeout(PATIENCE_S):
        while not met():
            for member in members:
                got += await member.poll(100, 0.05)
    return got


async def committed(log: KafkaLog, group: str, topic: str) -> int | None:
    return (await log.admin.committed(group)).get(TopicPartition(topic, 0))


async def test_work_in_flight_is_finished_and_committed_before_partitions_move(
    log: KafkaLog, group: str
) -> None:
    topic = await create(log, 2)
    for partition in (0, 1):
        await publish(log, topic, 3, partition)
    first = await log.consumer(group, [topic], member_id="first")
    got: list[LogMessage] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(got) < 6:
            got += await first.poll(10, 0.5)
    revoked: list[frozenset[TopicPartition]] = []

    async def finish(partitions: frozenset[TopicPartition]) -> None:
        revoked.append(partitions)
        await asyncio.sleep(0)  # the last of the work
        await first.commit(dict.fromkeys(partitions, 3))

    first.on_revoked(finish)
    second = await log.consumer(group, [topic], member_id="second")
    again = await poll_until(
        [first, second], lambda: len(first.assignment()) == 1 and len(second.assignment()) == 1
    )
    assert revoked == [{TopicPartition(topic, 0), TopicPartition(topic, 1)}]
    assert again == []
    assert all(lag.lag == 0 for lag in await log.lag(group))


async def test_work_that_does_not_end_in_time_is_abandoned_uncommitted(
    kafka_groups: Broker, group: str
) -> None:
    async with KafkaLog(kafka_groups.settings(session_timeout="6s", rebalance_timeout="3s")) as log:
        topic = await create(log, 2)
        await publish(log, topic, 1)
        first = await log.consumer(group, [topic], member_id="first")
        assert [message.value for message in await first.poll(10, PATIENCE_S)] == [b"0"]
        given_up = asyncio.Event()

        async def hang(_partitions: frozenset[TopicPartition]) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                given_up.set()

        first.on_revoked(hang)
        second = await log.consumer(group, [topic], member_id="second")
        again = await poll_until([first, second], lambda: given_up.is_set() and bool(second.assignment()))
        while not again:
            again += [*await first.poll(10, 0.5), *await second.poll(10, 0.5)]
        assert [message.value for message in again] == [b"0"]


async def test_a_pause_outlasts_a_rebalance(log: KafkaLog, group: str) -> None:
    topic = await create(log, 2)
    first = await log.consumer(group, [topic], member_id="first")
    everything = first.assignment()
    first.pause(everything)
    second = await log.consumer(group, [topic], member_id="second")
    await poll_until([first, second], lambda: len(first.assignment()) == len(second.assignment()) == 1)
    (kept,) = first.assignment()
    await publish(log, topic, 2, kept.partition)
    assert await first.poll(10, 1.0) == []
    first.resume(first.assignment())
    assert len(await poll_some(first)) == 2


async def poll_some(member: LogConsumer) -> list[LogMessage]:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if got := list(await member.poll(10, 1.0)):
                return got


async def test_members_keep_most_of_their_partitions(log: KafkaLog, group: str) -> None:
    topic = await create(log, 6)
    members = [await log.consumer(group, [topic], member_id="m0")]

    async def joined_by(name: str) -> list[frozenset[TopicPartition]]:
        before = [member.assignment() for member in members]
        members.append(await log.consumer(group, [topic], member_id=name))
        share = 6 // len(members)
        await poll_until(
            members, lambda: [len(each.assignment()) for each in members] == [share] * len(members)
        )
        return before

    await joined_by("m1")
    before = await joined_by("m2")
    for was, member in zip(before, members, strict=False):
        assert member.assignment() < was


@pytest.mark.slow
async def test_heartbeats_go_on_while_a_batch_takes_longer_than_the_session(
    kafka_groups: Broker, group: str
) -> None:
    async with KafkaLog(kafka_groups.settings(session_timeout="1500ms")) as log:
        topic = await create(log, 1)
        await publish(log, topic, 1)
        member = await log.consumer(group, [topic], member_id="slow")
        assert len(await poll_some(member)) == 1
        revoked = asyncio.Event()

        async def note(_partitions: frozenset[TopicPartition]) -> None:
            revoked.set()

        member.on_revoked(note)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(revoked.wait(), 4.0)
        await member.commit({TopicPartition(topic, 0): 1})
        assert await committed(log, group, topic) == 1


@pytest.mark.slow
async def test_a_member_that_does_not_poll_is_replaced_and_commits_nothing_more(
    kafka_groups: Broker, group: str
) -> None:
    async with (
        KafkaLog(kafka_groups.settings(session_timeout="3s", max_poll_interval="2s")) as stuck_log,
        KafkaLog(kafka_groups.settings(session_timeout="3s")) as log,
    ):
        topic = await create(log, 1)
        await publish(log, topic, 5)
        stuck = await stuck_log.consumer(group, [topic], member_id="stuck")
        assert len(await poll_some(stuck)) == 5
        heir = await log.consumer(group, [topic], member_id="heir")
        await poll_until([heir], lambda: bool(heir.assignment()))
        await heir.commit({TopicPartition(topic, 0): 2})
        await stuck.commit({TopicPartition(topic, 0): 5})
        assert await committed(log, group, topic) == 2
        # Polling again it comes back as a member like any other.
        await heir.close()
        await poll_until([stuck], lambda: bool(stuck.assignment()))
        assert [message.offset for message in await poll_some(stuck)] == [2, 3, 4]


async def test_a_static_member_that_restarts_moves_nothing(kafka_groups: Broker, group: str) -> None:
    async with (
        KafkaLog(kafka_groups.settings(instance_id="one")) as one_log,
        KafkaLog(kafka_groups.settings(instance_id="two")) as two_log,
    ):
        topic = await create(one_log, 2)
        one = await one_log.consumer(group, [topic], member_id="one")
        two = await two_log.consumer(group, [topic], member_id="two")
        await poll_until([one, two], lambda: len(one.assignment()) == len(two.assignment()) == 1)
        before = one.assignment(), two.assignment()
        revoked: list[frozenset[TopicPartition]] = []

        async def note(partitions: frozenset[TopicPartition]) -> None:
            revoked.append(partitions)

        one.on_revoked(note)
        await two.close()
        two = await two_log.consumer(group, [topic], member_id="two")
        await poll_until([one, two], lambda: bool(two.assignment()))
        assert (one.assignment(), two.assignment()) == before
        assert revoked == []


async def test_a_commit_to_a_deleted_topic_ends_in_time(kafka_groups: Broker, group: str) -> None:
    async with KafkaLog(kafka_groups.settings(request_timeout="2s")) as log:
        topic = await create(log, 1)
        await publish(log, topic, 1)
        member = await log.consumer(group, [topic], member_id="m")
        await poll_some(member)
        admin = AdminClient({"bootstrap.servers": kafka_groups.servers})
        for future in admin.delete_topics([topic]).values():
            await asyncio.wrap_future(future)
        async with asyncio.timeout(20):
            with pytest.raises(BackendUnavailable, match="committing offsets"):
                await member.commit({TopicPartition(topic, 0): 1})
