"""What the producer does when topics, limits, rights and connections are not as hoped."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from core.errors import AccessDenied, BackendUnavailable, ConfigurationError, MessageTooLarge
from core.log.base import OutgoingMessage, Position, PublishFailure
from core.log.kafka import KafkaLog
from core.log.kafka.setup import TopicSpec
from tests.brokers.kafka.start import RESTRICTED_PASSWORD, RESTRICTED_USER, ApacheKafka
from tests.servers.kafka import GROUP, Broker
from tests.servers.tcp_proxy import TcpProxy

pytestmark = pytest.mark.xdist_group(GROUP)


def alter(kafka: Broker, topic: str, key: str, value: str) -> None:
    """Set one of a topic's settings."""
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": kafka.servers})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(20)


@contextmanager
def denied(kafka: Broker, topic: str, operation: AclOperation) -> Iterator[Callable[[], None]]:
    """Deny the restricted user `operation` on `topic`, and nobody anything else; gives what ends it."""
    admin = AdminClient({"bootstrap.servers": kafka.servers})
    where = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL)
    rules = [
        AclBinding(*where, "User:*", "*", AclOperation.ALL, AclPermissionType.ALLOW),
        AclBinding(*where, f"User:{RESTRICTED_USER}", "*", operation, AclPermissionType.DENY),
    ]
    for future in admin.create_acls(rules).values():
        future.result(20)

    def lift() -> None:
        same = [
            AclBindingFilter(*where, rule.principal, rule.host, rule.operation, rule.permission_type)
            for rule in rules
        ]
        for deleted in admin.delete_acls(same).values():
            deleted.result(20)

    try:
        yield lift
    finally:
        lift()


async def create(log: KafkaLog, **config: str) -> str:
    """A topic of one partition."""
    topic = f"topic-{uuid4().hex}"
    config = {key.replace("_", "."): value for key, value in config.items()}
    await log.admin.create([TopicSpec(topic, 1, config)], None)
    return topic


def messages(count: int, size: int = 10) -> list[OutgoingMessage]:
    """Messages that do not compress, numbered by their keys."""
    return [OutgoingMessage(str(n).encode(), os.urandom(size)) for n in range(count)]


async def keys(log: KafkaLog, topic: str) -> list[int]:
    """What stands in the topic."""
    return [int(message.key or b"") async for message in log.browse(topic)]


@pytest.fixture
async def log(kafka: Broker) -> AsyncIterator[KafkaLog]:
    async with KafkaLog(kafka.settings(delivery_timeout="10s")) as log:
        yield log


async def test_a_missing_topic_is_a_configuration_error_until_work_has_begun(log: KafkaLog) -> None:
    with pytest.raises(ConfigurationError, match="not-there") as caught:
        await log.max_message_bytes("not-there")
    assert "topics setup" in (caught.value.hint or "")
    with pytest.raises(ConfigurationError, match="not-there"):
        await log.consumer("g", ["not-there"], member_id="m")
    with pytest.raises(BackendUnavailable, match="not-there"):
        await log.publish("not-there", messages(1))


async def test_missing_topics_are_made_where_that_is_allowed(kafka: Broker) -> None:
    topic = f"made-{uuid4().hex}"
    async with KafkaLog(kafka.settings(create_topics=True, partitions=2)) as log:
        await log.publish(topic, messages(1))
        assert (await log.admin.topics())[topic] == [0, 1]
        assert (await log.admin.config([topic]))[topic]["retention.ms"] == str(7 * 86_400_000)


async def test_messages_larger_together_than_the_topic_accepts_all_go(log: KafkaLog) -> None:
    topic = await create(log, max_message_bytes="20000")
    answers = await log.publish(topic, messages(40, 9_000))
    assert all(isinstance(answer, Position) for answer in answers)
    assert sorted(await keys(log, topic)) == list(range(40))


async def test_a_message_of_exactly_the_limit_goes_though_it_does_not_compress(log: KafkaLog) -> None:
    topic = await create(log)
    limit = await log.max_message_bytes(topic)
    exact, over = (OutgoingMessage(None, os.urandom(size)) for size in (limit, limit + 1))
    position, failure = await log.publish(topic, [exact, over])
    assert isinstance(position, Position)
    assert isinstance(failure, PublishFailure)


async def test_a_limit_lowered_meanwhile_refuses_the_large_and_loses_nothing(
    kafka: Broker, log: KafkaLog
) -> None:
    topic = await create(log)
    await log.publish(topic, messages(1))
    alter(kafka, topic, "max.message.bytes", "20000")
    batch = [*messages(3, 15_000), OutgoingMessage(b"99", os.urandom(50_000))]
    answers = await log.publish(topic, batch)
    assert [isinstance(answer, Position) for answer in answers] == [True, True, True, False]
    assert isinstance(answers[3], PublishFailure)
    assert isinstance(answers[3].error, MessageTooLarge)
    assert await log.max_message_bytes(topic) < 20_000
    # The refusal broke the producer's sequence of numbers: what follows must go all the same.
    assert all(isinstance(answer, Position) for answer in await log.publish(topic, messages(3)))
    assert sorted(await keys(log, topic)) == [0, 0, 0, 1, 1, 2, 2]


async def test_a_topic_we_may_not_write_refuses_and_the_next_one_does_not(
    kafka: Broker, apache_kafka: ApacheKafka, log: KafkaLog, tmp_path: Path
) -> None:
    forbidden, allowed = await create(log), await create(log)
    (tmp_path / "password").write_text(RESTRICTED_PASSWORD)
    (tmp_path / "password").chmod(0o600)
    settings = kafka.settings(
        servers=apache_kafka.servers("SASL"),
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-256",
        sasl_username=RESTRICTED_USER,
        sasl_password=f"file:{tmp_path / 'password'}",
        delivery_timeout="10s",
    )
    async with KafkaLog(settings) as restricted:
        with denied(kafka, forbidden, AclOperation.WRITE):
            (answer,) = await restricted.publish(forbidden, messages(1))
            assert isinstance(answer, PublishFailure)
            assert isinstance(answer.error, AccessDenied)
            (answer,) = await restricted.publish(allowed, messages(1))
            assert isinstance(answer, Position)
        (answer,) = await restricted.publish(forbidden, messages(1))
        assert isinstance(answer, Position)


async def test_a_deleted_topic_is_given_up_in_time(kafka: Broker, log: KafkaLog) -> None:
    async with KafkaLog(kafka.settings(delivery_timeout="2s")) as impatient:
        topic = await create(impatient)
        await impatient.publish(topic, messages(1))
        admin = AdminClient({"bootstrap.servers": kafka.servers})
        for future in admin.delete_topics([topic]).values():
            await asyncio.wrap_future(future)
        async with asyncio.timeout(15):
            with pytest.raises(BackendUnavailable):
                await impatient.publish(topic, messages(1))
        other = await create(impatient)
        (answer,) = await impatient.publish(other, messages(1))
        assert isinstance(answer, Position)


@pytest.fixture
async def proxy(apache_kafka: ApacheKafka) -> AsyncIterator[TcpProxy]:
    """The only way to the broker's PROXIED listener."""
    node = apache_kafka.nodes[0]
    async with TcpProxy(node.ports["PROXIED"], node.advertised["PROXIED"]) as proxy:
        yield proxy


async def test_connections_cut_again_and_again_neither_lose_nor_double(
    kafka: Broker, log: KafkaLog, proxy: TcpProxy
) -> None:
    topic = await create(log)
    settings = kafka.settings(servers=f"127.0.0.1:{proxy.port}", delivery_timeout="30s", linger="0")
    async with KafkaLog(settings) as shaky:
        await shaky.publish(topic, [OutgoingMessage(b"0", b"")])
        for round_number in range(1, 41):
            publishing = asyncio.create_task(
                shaky.publish(topic, [OutgoingMessage(str(round_number).encode(), os.urandom(5_000))])
            )
            if round_number % 4 == 0:
                await asyncio.sleep(0)  # let it start
                proxy.cut()
                proxy.mend()
            (answer,) = await publishing
            assert isinstance(answer, Position)
    assert await keys(log, topic) == list(range(41))


async def test_a_broker_that_is_gone_is_told_in_time_and_found_again(
    kafka: Broker, log: KafkaLog, proxy: TcpProxy
) -> None:
    topic = await create(log)
    settings = kafka.settings(servers=f"127.0.0.1:{proxy.port}", delivery_timeout="1s")
    async with KafkaLog(settings) as shaky:
        await shaky.publish(topic, messages(1))
        proxy.cut()
        async with asyncio.timeout(10):
            with pytest.raises(BackendUnavailable):
                await shaky.publish(topic, messages(1))
        proxy.mend()
        async with asyncio.timeout(20):
            while True:
                try:
                    (answer,) = await shaky.publish(topic, [OutgoingMessage(b"7", b"")])
                except BackendUnavailable:
                    continue
                assert isinstance(answer, Position)
                break
    assert 7 in await keys(log, topic)


async def test_a_topic_of_many_pages_is_browsed_whole_from_either_end(log: KafkaLog) -> None:
    topic = await create(log)
    await log.publish(topic, messages(1_050, 1))
    assert await keys(log, topic) == list(range(1_050))
    backwards = [int(message.key or b"") async for message in log.browse(topic, newest_first=True)]
    assert backwards == list(range(1_049, -1, -1))


async def test_browsing_holds_few_bytes_however_large_the_messages_are(log: KafkaLog) -> None:
    topic = await create(log)
    for number in range(90):
        await log.publish(topic, [OutgoingMessage(str(number).encode(), os.urandom(900_000))])
    tracemalloc.start()
    try:
        forwards = [int(message.key or b"") async for message in log.browse(topic)]
        backwards = [int(message.key or b"") async for message in log.browse(topic, newest_first=True)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert forwards == list(range(90))
    assert backwards == list(reversed(forwards))
    assert peak < 40 << 20  # of 81 MB: a page of each, and what the client has fetched ahead


async def test_a_limit_that_was_repaired_is_noticed_by_a_running_producer(
    kafka: Broker, log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await create(log, max_message_bytes="20000")
    assert await log.max_message_bytes(topic) < 20_000
    alter(kafka, topic, "max.message.bytes", "2000000")
    assert await log.max_message_bytes(topic) < 20_000
    monkeypatch.setattr("core.log.kafka.producer.LIMIT_AGE_S", -1.0)
    assert await log.max_message_bytes(topic) > 1_000_000
