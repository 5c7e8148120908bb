"""The Kafka log keeps the contract, judged by a real broker."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from core.log.base import EventLog
from core.log.kafka import KafkaLog
from core.log.kafka.setup import TopicSpec
from core.settings.kafka import KafkaSettings
from tests.contract.event_log import EventLogContract, LogFactory
from tests.servers.kafka import GROUP, Broker


@dataclass(frozen=True)
class Factory:
    """Can be sent to another process."""

    settings: KafkaSettings

    def __call__(self) -> KafkaLog:
        return KafkaLog(self.settings)


@pytest.mark.xdist_group(GROUP)
class TestKafkaLog(EventLogContract):
    shares_partitions = True

    @pytest.fixture
    def log_factory(self, kafka: Broker) -> LogFactory:
        return Factory(kafka.settings())

    async def create_topic(self, log: EventLog, topic: str, partitions: int) -> None:
        assert isinstance(log, KafkaLog)
        await log.admin.create([TopicSpec(topic, partitions, {})], None)
