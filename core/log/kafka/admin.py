"""What is asked of the cluster beside reading and writing: topics, limits, groups, offsets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import aiokafka
from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from core.errors import ConfigurationError
from core.log.base import TopicPartition
from core.log.kafka.errors import no_topic, translate
from core.log.kafka.setup import TopicSpec

Answer = TypeVar("Answer")
_INTERNAL = "__"
_BACKOFF_S = 0.1
_DEFAULT_MAX_MESSAGE_BYTES = 1_048_588  # Kafka's, for clusters that do not let us ask


class Admin:
    """One lazily connected admin client; a retryable failure is retried for `patience_s` seconds."""

    def __init__(self, options: Mapping[str, Any], *, patience_s: float) -> None:
        self._options = options
        self._patience_s = patience_s
        self._client: AIOKafkaAdminClient | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Close the connection. Idempotent."""
        client, self._client = self._client, None
        if client:
            await client.close()

    async def topics(self) -> dict[str, list[int]]:
        """Every topic that is not Kafka's own, with its partitions."""

        async def ask(client: AIOKafkaAdminClient) -> dict[str, list[int]]:
            described = await client.describe_topics()
            return {
                entry["topic"]: sorted(each["partition"] for each in entry["partitions"])
                for entry in described
                if not entry["is_internal"] and not entry["topic"].startswith(_INTERNAL)
            }

        return await self._retried("listing Kafka's topics", ask)

    async def create(self, specs: Sequence[TopicSpec], replication: int | None) -> None:
        """Create topics and wait until they are there; one that exists already is left as it is.

        Raises `ConfigurationError` where Kafka refuses.
        """
        wanted = [NewTopic(spec.name, spec.partitions, 1, topic_configs=dict(spec.config)) for spec in specs]
        for topic in wanted:  # its constructor refuses -1, the cluster's default (KIP-464)
            topic.replication_factor = replication or -1

        async def ask(client: AIOKafkaAdminClient) -> Any:
            return await client.create_topics(wanted)

        response = await self._retried("creating topics", ask)
        for topic, code, message in response.topic_errors:
            error = kafka.for_code(code)
            if error not in (kafka.NoError, kafka.TopicAlreadyExistsError):
                why = message or error.__name__
                raise ConfigurationError(f"Kafka does not create topic {topic}: {why}")
        names = {spec.name for spec in specs}
        async with asyncio.timeout(self._patience_s):
            # Brokers hear of it a moment later, and tell nobody when.
            while not names <= (await self.topics()).keys():  # noqa: ASYNC110
                await asyncio.sleep(_BACKOFF_S)

    async def config(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """The effective configuration of each topic, by key; a topic we may not ask about is left out."""
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]

        async def ask(client: AIOKafkaAdminClient) -> Any:
            return await client.describe_configs(resources)

        answers = await self._retried("asking for topic settings", ask) if resources else []
        return {
            name: {entry[0]: entry[1] for entry in entries}
            for answer in answers
            for code, _message, _kind, name, entries in answer.resources
            if kafka.for_code(code) is kafka.NoError
        }

    async def max_message_bytes(self, topic: str) -> int:
        """The topic's `max.message.bytes`. Raises `ConfigurationError` where there is no such topic."""
        if topic not in await self.topics():
            raise no_topic([topic])
        config = (await self.config([topic])).get(topic, {})
        return int(config.get("max.message.bytes", _DEFAULT_MAX_MESSAGE_BYTES))

    async def groups(self) -> list[str]:
        """The consumer groups."""

        async def ask(client: AIOKafkaAdminClient) -> list[tuple[Any, ...]]:
            return list(await client.list_consumer_groups())

        return sorted(entry[0] for entry in await self._retried("listing consumer groups", ask))

    async def committed(self, group: str) -> dict[TopicPartition, int]:
        """Every offset that `group` has committed, in one request."""

        async def ask(client: AIOKafkaAdminClient) -> Any:
            return await client.list_consumer_group_offsets(group)

        answer = await self._retried(f"asking for the offsets of group {group}", ask)
        return {TopicPartition(*where): entry.offset for where, entry in answer.items() if entry.offset >= 0}

    async def delete_before(self, where: TopicPartition, offset: int) -> None:
        """Remove the messages of a partition below `offset`."""
        target = {aiokafka.TopicPartition(*where): RecordsToDelete(offset)}

        async def ask(client: AIOKafkaAdminClient) -> Any:
            return await client.delete_records(target)

        await self._retried(f"deleting messages of {where.topic}", ask)

    async def _retried(self, doing: str, ask: Callable[[AIOKafkaAdminClient], Awaitable[Answer]]) -> Answer:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    return await ask(await self._connected())
            except (kafka.KafkaError, OSError, TimeoutError) as error:
                retriable = not isinstance(error, kafka.KafkaError) or error.retriable
                if not retriable or loop.time() + _BACKOFF_S >= deadline:
                    raise translate(error, doing) from error
            await asyncio.sleep(_BACKOFF_S)

    async def _connected(self) -> AIOKafkaAdminClient:
        async with self._lock:
            if self._client is None:
                client = AIOKafkaAdminClient(**self._options)
                try:
                    await client.start()
                except BaseException:
                    await client.close()
                    raise
                self._client = client
            return self._client
