"""What the log itself loses is told, and topics that change are consumed again soon."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic

from core.assembly.consuming import consuming
from core.errors import AccessDenied, ArchonError, BackendUnavailable, ConfigurationError
from core.log.base import OutgoingMessage, Position, TopicPartition
from core.log.embedded import EmbeddedLog
from core.log.kafka import KafkaLog
from core.progress import EventsLost, RunEvent
from core.settings import Settings, load
from tests.faults.order_world import request_event
from tests.servers.kafka import GROUP, Broker


async def test_events_that_were_removed_unread_are_counted_and_told(tmp_path: Path) -> None:
    settings = load({"home": tmp_path, "agent.workers": 1, "log.partitions": 1}, environ={}).settings
    topic = settings.log.topics[-1]
    events: list[RunEvent] = []

    async def drain() -> None:
        async with consuming(settings, listener=events.append, service=False) as agent:
            await agent.run(drain=True, stop=asyncio.Event())

    async def publish(count: int) -> None:
        async with EmbeddedLog(settings.data_dir / "log.sqlite", partitions=1) as log:
            value = request_event("p", "a.py", "x = 1\n")
            await log.publish(topic, [OutgoingMessage(b"k", value) for _ in range(count)])

    await publish(2)
    await drain()
    assert not [event for event in events if isinstance(event, EventsLost)]
    await publish(5)
    async with EmbeddedLog(settings.data_dir / "log.sqlite", partitions=1) as log:
        await log.delete_before(TopicPartition(topic, 0), 5)
    await drain()
    assert [event for event in events if isinstance(event, EventsLost)] == [EventsLost(topic, 0, 2, 3)]


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110 - a broker tells nobody when it is done
            await asyncio.sleep(0.2)


async def missing(log: KafkaLog, topic: str) -> bool:
    return topic not in await log.topics()


async def takes(log: KafkaLog, topic: str, message: OutgoingMessage) -> bool:
    try:
        (answer,) = await log.publish(topic, [message])
    except (BackendUnavailable, ConfigurationError):
        return False
    return isinstance(answer, Position)


@pytest.mark.slow
@pytest.mark.xdist_group(GROUP)
@pytest.mark.parametrize("change", ["partitions", "anew"])
async def test_a_topic_that_changes_is_consumed_again_within_30_s(kafka: Broker, change: str) -> None:
    topic, group = (f"{name}-{uuid4().hex}" for name in ("topic", "group"))
    async with KafkaLog(kafka.settings(create_topics=True, partitions=1)) as log:
        await log.publish(topic, [OutgoingMessage(b"k", b"0") for _ in range(5)])
        consumer = await log.consumer(group, [topic], member_id="one")
        got = 0
        while got < 5:
            got += len(await consumer.poll(10, 1.0))
        await consumer.commit({TopicPartition(topic, 0): 5})
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.servers)
        await admin.start()
        try:
            if change == "partitions":
                await admin.create_partitions({topic: NewPartitions(2)})
            else:
                await admin.delete_topics([topic])
                await until(lambda: missing(log, topic))
                await admin.create_topics([NewTopic(topic, 1, 1)])
        finally:
            await admin.close()
        fresh = OutgoingMessage(b"k", b"fresh", (), 1 if change == "partitions" else None)
        async with KafkaLog(kafka.settings()) as other:
            await until(lambda: takes(other, topic, fresh))
        async with asyncio.timeout(40):
            while not [each for each in await consumer.poll(10, 1.0) if each.value == b"fresh"]:
                pass


async def test_a_group_that_reads_again_what_another_has_read_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def settings(group: str) -> Settings:
        given = {"home": tmp_path, "agent.workers": 1, "log.group": group}
        return load(given, environ={}).settings

    async def drain(group: str) -> str:
        caplog.clear()
        async with consuming(settings(group), service=False) as agent:
            await agent.run(drain=True, stop=asyncio.Event())
        return caplog.text

    async with EmbeddedLog(settings("right").data_dir / "log.sqlite") as log:
        value = request_event("p", "a.py", "x = 1\n")
        await log.publish(settings("right").log.topics[-1], [OutgoingMessage(b"k", value)])
    assert "--group" not in await drain("right")
    told = await drain("rihgt")
    assert "group rihgt has committed nothing yet and reads 1 events again, which right has read" in told
    assert "--group" not in await drain("rihgt")


@pytest.mark.parametrize("error", [AccessDenied("no"), BackendUnavailable("no")])
async def test_an_agent_that_may_not_ask_for_other_groups_runs_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: ArchonError
) -> None:
    async def refused(_log: EmbeddedLog) -> list[str]:
        raise error

    monkeypatch.setattr(EmbeddedLog, "groups", refused)
    settings = load({"home": tmp_path, "agent.workers": 1}, environ={}).settings
    async with EmbeddedLog(settings.data_dir / "log.sqlite") as log:
        value = request_event("p", "a.py", "x = 1\n")
        await log.publish(settings.log.topics[-1], [OutgoingMessage(b"k", value)])
    async with consuming(settings, service=False) as agent:
        await agent.run(drain=True, stop=asyncio.Event())
    async with EmbeddedLog(settings.data_dir / "log.sqlite") as log:
        assert not sum(place.lag for place in await log.lag(settings.log.group, settings.log.topics))


@pytest.mark.slow
@pytest.mark.xdist_group(GROUP)
async def test_a_topic_that_is_deleted_is_made_again_where_that_is_allowed(kafka: Broker) -> None:
    topic = f"topic-{uuid4().hex}"
    message = OutgoingMessage(b"k", b"v")
    settings = kafka.settings(create_topics=True, partitions=1, delivery_timeout="5s")
    async with KafkaLog(settings) as log:
        await until(lambda: takes(log, topic, message))
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.servers)
        await admin.start()
        try:
            await admin.delete_topics([topic])
            await until(lambda: missing(log, topic))
        finally:
            await admin.close()
        await until(lambda: takes(log, topic, message))
        assert topic in await log.topics()
