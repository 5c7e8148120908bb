"""Requests of a transactional producer, as Kafka Connect and Kafka Streams write them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from core.assembly.consuming import consuming
from core.log.kafka import KafkaLog
from core.settings import load
from tests.faults.order_world import request_event
from tests.servers.kafka import GROUP, Broker

pytestmark = pytest.mark.xdist_group(GROUP)


async def test_aborted_requests_are_not_executed_and_markers_hold_nothing_up(
    kafka: Broker, tmp_path: Path
) -> None:
    topic, group, project = (f"{name}-{uuid4().hex}" for name in ("requests", "group", "project"))
    async with KafkaLog(kafka.settings(create_topics=True, partitions=1)) as log:
        await log.max_message_bytes(topic)
        producer = AIOKafkaProducer(bootstrap_servers=kafka.servers, transactional_id=f"tx-{uuid4().hex}")
        await producer.start()
        try:
            async with producer.transaction():
                await producer.send_and_wait(topic, request_event(project, "kept.py", "x = 1\n"))
            await producer.begin_transaction()
            await producer.send_and_wait(topic, request_event(project, "aborted.py", "x = 2\n"))
            await producer.abort_transaction()
        finally:
            await producer.stop()
        settings = load(
            {
                "home": tmp_path,
                "kafka.servers": kafka.servers,
                "kafka.create_topics": True,
                "log.topics": topic,
                "log.group": group,
                "agent.workers": 1,
            },
            environ={},
        ).settings
        async with asyncio.timeout(90), consuming(settings, service=False) as agent:
            summary = await agent.run(drain=True, stop=asyncio.Event())
        assert (summary.events, summary.files_processed) == (1, 1)
        assert [part.lag for part in await log.lag(group, [topic])] == [0]
        assert len([message async for message in log.browse(topic)]) == 1
