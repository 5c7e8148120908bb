"""Every acknowledged file ends in exactly one of result and dead letter, whatever fails meanwhile.

The oracle (another process) records what the log acknowledged; agents work; something fails; the topics
are judged. Duplicates before deduplication are bounded by what was in flight, after it there are none.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import AclOperation, AdminClient

from core.agent import Agent
from core.assembly.consuming import consuming
from core.consumer import Limits
from core.events.topics import COMPLETED, FAILED, FILE_INTELLIGENCE, dead_letter_topic
from core.log.base import OutgoingMessage
from core.log.kafka import KafkaLog
from core.log.kafka.setup import specs
from core.settings import Settings, load
from core.settings.kafka import KafkaSettings
from tests.brokers.kafka.start import RESTRICTED_PASSWORD, RESTRICTED_USER, ApacheKafka
from tests.faults import armed_agent
from tests.faults.oracle import FILES_PER_EVENT, Verdict, drained, judge, publish, publishing
from tests.integration.test_kafka_producer import denied
from tests.servers.kafka import GROUP, Broker
from tests.servers.tcp_proxy import TcpProxy
from tests.subprocesses import child_process

pytestmark = [pytest.mark.xdist_group(GROUP), pytest.mark.slow, pytest.mark.timeout(300)]

PARTITIONS = 4
# The most that one agent can have in flight when it goes.
IN_FLIGHT = Limits().messages * FILES_PER_EVENT
# The checklist's bound for a fresh event after a fault.
RECOVERY_S = 60.0


@dataclass
class Scene:
    """A topic and group of their own on a broker, and the way there for agents."""

    servers: str
    home: Path
    agent_servers: str
    extra: dict[str, str]

    def __post_init__(self) -> None:
        self.project = f"p-{uuid4().hex[:8]}"
        self.topic = f"requests-{self.project}"
        self.group = f"group-{self.project}"
        self.record = self.home / "acknowledged"

    @property
    def environment(self) -> dict[str, str]:
        """Settings of an agent, as variables."""
        return {
            "ARCHON_HOME": str(self.home),
            "ARCHON_KAFKA_SERVERS": self.agent_servers,
            "ARCHON_TOPICS": self.topic,
            "ARCHON_GROUP": self.group,
            "ARCHON_INDEX": "false",
            "ARCHON_AGENT_WORKERS": "1",
            "ARCHON_KAFKA_SESSION_TIMEOUT": "4s",
            "ARCHON_KAFKA_REBALANCE_TIMEOUT": "20s",
            "ARCHON_KAFKA_REQUEST_TIMEOUT": "5s",
            "ARCHON_KAFKA_DELIVERY_TIMEOUT": "5s",
            "ARCHON_KAFKA_REACH_TIMEOUT": "30s",
            **self.extra,
        }

    @property
    def settings(self) -> Settings:
        return load(environ=self.environment).settings

    def log(self) -> KafkaLog:
        """A way to the broker that no fault is on."""
        patient = {"reach_timeout": "20s", "request_timeout": "20s"}
        return KafkaLog(KafkaSettings(servers=self.servers, partitions=PARTITIONS, **patient))

    async def prepare(self) -> None:
        """Create the topics."""
        async with self.log() as log:
            existing = await log.admin.topics()
            wanted = specs(KafkaSettings(partitions=PARTITIONS), [self.topic])
            missing = [spec for spec in wanted if spec.name not in existing]
            await log.admin.create(missing, None)

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Agent]:
        """An agent at work in this process, stopped in order at the end."""
        stop = asyncio.Event()
        async with consuming(self.settings) as agent:
            running = asyncio.create_task(agent.run(drain=False, stop=stop))
            try:
                yield agent
            finally:
                stop.set()
                await running

    async def judged(self, acknowledged: set[str], *, duplicates: int) -> Verdict:
        """Wait for the end of the work, then judge: nothing lost, nothing twice, few duplicates."""
        async with self.log() as log:
            await drained(log, self.group, self.topic, 90)
            verdict = await judge(log, self.topic, self.project)
        assert verdict.lost(acknowledged) == set()
        assert verdict.both == set()
        assert {name for name in verdict.dead if "broken" not in name} == set()
        assert verdict.duplicates <= duplicates
        return verdict

    async def fresh_event_completes(self) -> None:
        """An event published now is done in time."""
        async with self.log() as log:
            names = await publish(log, self.topic, self.project, 999_999)
            assert names
            await drained(log, self.group, self.topic, RECOVERY_S)
            assert not (await judge(log, self.topic, self.project)).lost(set(names))


async def scene_on(servers: str, home: Path, *, via: str | None = None, **extra: str) -> Scene:
    scene = Scene(servers, home, via or servers, extra)
    await scene.prepare()
    return scene


async def until_blocked(agent: Agent, word: str) -> None:
    """Wait until the agent says that it is not ready, because of `word`."""
    async with asyncio.timeout(RECOVERY_S):
        while word not in (agent.status().blocked or ""):  # noqa: ASYNC110 - a state, not an event
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("stage", armed_agent.STAGES)
async def test_an_agent_killed_at_any_stage_loses_nothing(
    kafka_groups: Broker, tmp_path: Path, stage: str
) -> None:
    scene = await scene_on(kafka_groups.servers, tmp_path)
    acknowledged: set[str] = set()
    async with scene.log() as log:
        for number in range(20):
            acknowledged.update(await publish(log, scene.topic, scene.project, number))
    command = (sys.executable, "-m", "tests.faults.armed_agent", "run", "--no-http")
    armed = {**os.environ, **scene.environment, "AGENT_DIES_AT": stage}
    async with child_process(*command, env=armed) as victim, asyncio.timeout(60):
        assert await victim.wait() == -9
    async with scene.agent():
        await scene.judged(acknowledged, duplicates=IN_FLIGHT)


async def test_a_clean_stop_makes_no_duplicates(kafka_groups: Broker, tmp_path: Path) -> None:
    scene = await scene_on(kafka_groups.servers, tmp_path)
    async with publishing(scene.servers, scene.topic, scene.project, scene.record) as oracle:
        for stop_at in (50, 100, 150):
            async with scene.agent():
                await oracle.reaches(stop_at)
        acknowledged = await oracle.stop()
    async with scene.agent():
        await scene.judged(acknowledged, duplicates=0)


@pytest.fixture
def own_broker(apache_kafka: ApacheKafka, tmp_path: Path) -> Iterator[ApacheKafka]:
    """A broker that a test may end; possible where the shared one is."""
    with cluster(tmp_path / "broker", 1) as started:
        yield started


class cluster:  # noqa: N801 - a context manager
    """A running cluster of its own."""

    def __init__(self, directory: Path, nodes: int) -> None:
        self.cluster = ApacheKafka(directory, nodes=nodes)

    def __enter__(self) -> ApacheKafka:
        self.cluster.start()
        return self.cluster

    def __exit__(self, *_: object) -> None:
        self.cluster.stop()


async def test_a_broker_that_restarts_under_load_loses_nothing(
    own_broker: ApacheKafka, tmp_path: Path
) -> None:
    scene = await scene_on(own_broker.servers(), tmp_path / "home")
    (node,) = own_broker.nodes
    async with scene.agent():
        async with publishing(scene.servers, scene.topic, scene.project, scene.record) as oracle:
            await oracle.reaches(100)
            await asyncio.to_thread(own_broker.kill, node)
            await asyncio.to_thread(own_broker.start_node, node)
            await oracle.reaches(len(oracle.acknowledged) + 100)
            acknowledged = await oracle.stop()
        await scene.judged(acknowledged, duplicates=2 * IN_FLIGHT)
        await scene.fresh_event_completes()


async def test_one_broker_of_three_killed_under_load_loses_nothing(
    apache_kafka: ApacheKafka, tmp_path: Path
) -> None:
    with cluster(tmp_path / "brokers", 3) as brokers:
        scene = await scene_on(brokers.servers(), tmp_path / "home")
        async with scene.agent():
            async with publishing(scene.servers, scene.topic, scene.project, scene.record) as oracle:
                await oracle.reaches(100)
                await asyncio.to_thread(brokers.kill, brokers.nodes[1])
                await oracle.reaches(len(oracle.acknowledged) + 100)
                acknowledged = await oracle.stop()
            await scene.judged(acknowledged, duplicates=2 * IN_FLIGHT)
            await scene.fresh_event_completes()


async def test_connections_cut_and_delayed_lose_nothing(
    kafka_groups: Broker, apache_kafka: ApacheKafka, tmp_path: Path
) -> None:
    node = apache_kafka.nodes[0]
    async with TcpProxy(node.ports["PROXIED"], node.advertised["PROXIED"]) as proxy:
        scene = await scene_on(kafka_groups.servers, tmp_path, via=f"127.0.0.1:{proxy.port}")
        async with scene.agent():
            async with publishing(scene.servers, scene.topic, scene.project, scene.record) as oracle:
                for files in (40, 80, 120):
                    await oracle.reaches(files)
                    proxy.cut()
                    await oracle.reaches(files + 20)
                    proxy.mend()
                proxy.delay_s = 0.1
                await oracle.reaches(200)
                acknowledged = await oracle.stop()
            proxy.delay_s = 0.0
            await scene.judged(acknowledged, duplicates=4 * IN_FLIGHT)
            await scene.fresh_event_completes()


async def test_ten_agents_coming_and_going_for_a_minute_lose_nothing(
    kafka_groups: Broker, tmp_path: Path
) -> None:
    scene = await scene_on(kafka_groups.servers, tmp_path)
    chance = random.Random(7)
    loop = asyncio.get_running_loop()
    ends = loop.time() + 60

    async def come_and_go() -> int:
        visits = 0
        while loop.time() < ends:
            async with scene.agent():
                await asyncio.sleep(chance.uniform(2, 12))
            visits += 1
        return visits

    async with publishing(scene.servers, scene.topic, scene.project, scene.record) as oracle:
        visits = await asyncio.gather(*(come_and_go() for _ in range(10)))
        acknowledged = await oracle.stop()
    assert min(visits) > 1
    async with scene.agent():
        verdict = await scene.judged(acknowledged, duplicates=sum(visits) * IN_FLIGHT)
        await scene.fresh_event_completes()
    assert len(verdict.results) > 1000


async def test_a_results_topic_we_may_not_write_holds_everything_back(
    kafka_groups: Broker, apache_kafka: ApacheKafka, tmp_path: Path
) -> None:
    scene = await restricted_scene(kafka_groups, apache_kafka, tmp_path)
    with denied(kafka_groups, FILE_INTELLIGENCE, AclOperation.WRITE) as lift:
        async with scene.agent() as agent, scene.log() as log:
            acknowledged = set(await publish(log, scene.topic, scene.project, 0))
            await until_blocked(agent, "results")
            assert sum(place.lag for place in await log.lag(scene.group, [scene.topic])) == 1
            await asyncio.to_thread(lift)
            await scene.judged(acknowledged, duplicates=0)


async def test_a_dead_letter_topic_we_may_not_write_stops_committing(
    kafka_groups: Broker, apache_kafka: ApacheKafka, tmp_path: Path
) -> None:
    scene = await restricted_scene(kafka_groups, apache_kafka, tmp_path)
    dead = dead_letter_topic(scene.topic)
    with denied(kafka_groups, dead, AclOperation.WRITE) as lift:
        async with scene.agent() as agent, scene.log() as log:
            await log.publish(scene.topic, [OutgoingMessage(b"k", b"poison", partition=0)])
            await until_blocked(agent, "dead letter")
            (waiting,) = [place for place in await log.lag(scene.group, [scene.topic]) if place.lag]
            assert waiting.committed in (None, 0)
            await asyncio.to_thread(lift)
            await drained(log, scene.group, scene.topic, RECOVERY_S)
            (letter,) = [message async for message in log.browse(dead)]
            assert letter.value == b"poison"
            await scene.fresh_event_completes()


async def restricted_scene(kafka_groups: Broker, apache_kafka: ApacheKafka, home: Path) -> Scene:
    """A scene whose agents come as the user whose rights a test may take."""
    (home / "password").write_text(RESTRICTED_PASSWORD)
    (home / "password").chmod(0o600)
    return await scene_on(
        kafka_groups.servers,
        home,
        via=apache_kafka.servers("SASL"),
        ARCHON_KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT",
        ARCHON_KAFKA_SASL_MECHANISM="SCRAM-SHA-256",
        ARCHON_KAFKA_SASL_USERNAME=RESTRICTED_USER,
        ARCHON_KAFKA_SASL_PASSWORD=f"file:{home / 'password'}",
    )


async def test_an_outcome_topic_deleted_and_made_again_loses_nothing(
    own_broker: ApacheKafka, tmp_path: Path
) -> None:
    scene = await scene_on(own_broker.servers(), tmp_path / "home")
    admin = AdminClient({"bootstrap.servers": own_broker.servers()})
    async with scene.agent() as agent:
        async with publishing(scene.servers, scene.topic, scene.project, scene.record) as oracle:
            await oracle.reaches(50)
            for future in admin.delete_topics([COMPLETED, FAILED]).values():
                await asyncio.wrap_future(future)
            await until_blocked(agent, "outcome")
            await scene.prepare()
            acknowledged = await oracle.stop()
        await scene.judged(acknowledged, duplicates=2 * IN_FLIGHT)
        await scene.fresh_event_completes()
