"""The commands on Kafka, as processes: the whole line, lag, status, topics, and how they fail."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest

from core.consumer import Consumer
from core.events.topics import FILE_INTELLIGENCE, REQUESTED_V1
from core.fleet import read_fleet
from core.log.base import LogMessage, OutgoingMessage, TopicPartition
from core.log.kafka import KafkaLog
from core.log.kafka.setup import TopicSpec
from core.outcome_events import BatchOutcome
from core.processor import RequestProcessor
from core.results.topic import record_key
from tests.faults.oracle import publish
from tests.servers.kafka import GROUP, Broker
from tests.servers.ports import free_ports
from tests.subprocesses import child_process

pytestmark = pytest.mark.xdist_group(GROUP)

SAMPLES = Path(__file__).parents[1] / "samples"
Agent = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(kafka: Broker, tmp_path: Path) -> dict[str, str]:
    """An agent's settings; its topic and group are this test's own."""
    name = uuid4().hex[:8]
    return {
        "PATH": os.environ["PATH"],
        "ARCHON_HOME": str(tmp_path / "home"),
        "ARCHON_KAFKA_SERVERS": kafka.servers,
        "ARCHON_KAFKA_PARTITIONS": "2",
        "ARCHON_TOPICS": f"requests-{name}",
        "ARCHON_GROUP": f"group-{name}",
        "ARCHON_AGENT_WORKERS": "1",
    }


@pytest.fixture
def agent(environment: dict[str, str]) -> Agent:
    """Runs a command to its end."""

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from archon_agent.main import main; main()", *words],
            env={**environment, **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
async def log(kafka: Broker) -> AsyncIterator[KafkaLog]:
    async with KafkaLog(kafka.settings()) as log:
        yield log


def data(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_setup_makes_what_is_missing_once(agent: Agent, environment: dict[str, str]) -> None:
    topic = environment["ARCHON_TOPICS"]
    missing = [topic, f"{topic}.dlq", f"{topic}.dlq.redriven"]
    planned = data(agent("topics", "setup", "--dry-run", "--json"))
    assert [name for name in planned["created"] if name.startswith("requests-")] == missing
    made = data(agent("topics", "setup", "--json"))
    assert set(missing) <= set(made["created"])
    again = data(agent("topics", "setup", "--json"))
    assert again["created"] == []
    assert set(missing) <= set(again["existing"])


async def test_setup_needs_kafka(agent: Agent) -> None:
    done = agent("topics", "setup", ARCHON_KAFKA_SERVERS="")
    assert (done.returncode, "embedded" in done.stderr) == (3, True)


async def test_v1_and_v2_events_become_records_on_the_results_topic(
    agent: Agent, environment: dict[str, str], log: KafkaLog
) -> None:
    v1, v2 = f"{environment['ARCHON_TOPICS']}-v1", environment["ARCHON_TOPICS"]
    both = {"ARCHON_TOPICS": f"{v1},{v2}"}
    data(agent("topics", "setup", "--json", **both))
    project = f"p-{uuid4().hex[:8]}"
    event = json.loads((SAMPLES / "v1-with-content.json").read_text())
    event["payload"]["project_name"] = project
    await log.publish(v1, [OutgoingMessage(b"k", json.dumps(event).encode())])
    names = await publish(log, v2, project, 1)
    summary = data_of_run(agent("run", "--drain", "--json", **both))
    assert summary["events"] == 2
    wanted = {file["relative_path"] for file in event["payload"]["files"] if file.get("content")}
    wanted |= {name for name in names if "broken" not in name}
    records = {
        message.key: json.loads(message.value)
        async for message in log.browse(FILE_INTELLIGENCE)
        if message.value and json.loads(message.value)["payload"]["project"] == project
    }
    assert {record["payload"]["path"] for record in records.values()} == wanted
    assert set(records) == {record_key(project, path) for path in wanted}
    assert all(record["event_type"] == FILE_INTELLIGENCE for record in records.values())
    assert event["event_type"] == REQUESTED_V1
    letters = data(agent("dlq", "list", "--json", **both))
    assert [letter["reason"] for letter in letters if letter["topic"] == v2] == ["checksum_mismatch"]


def data_of_run(done: subprocess.CompletedProcess[str]) -> Any:
    """A run's summary; one failed file makes its exit code 1."""
    assert done.returncode == 1, done.stderr
    return json.loads(done.stdout)


async def test_lag_tells_what_waits_and_what_that_means(
    agent: Agent, environment: dict[str, str], log: KafkaLog
) -> None:
    topic = environment["ARCHON_TOPICS"]
    data(agent("topics", "setup", "--json"))
    for number in range(3):
        await publish(log, topic, "p", number)
    before = data(agent("lag", "--json", "--interval", "0.1"))
    assert (before["verdict"], before["lag"]) == ("STOP", 3)  # no agent runs
    assert {part["lag_seconds"] is not None for part in before["partitions"] if part["lag"]} == {True}
    data_of_run(agent("run", "--drain", "--json"))
    after = data(agent("lag", "--json", "--interval", "0.1"))
    assert (after["group"], after["verdict"], after["lag"]) == (environment["ARCHON_GROUP"], "OK", 0)


async def test_status_shows_an_agent_while_it_works_and_not_after(
    agent: Agent, environment: dict[str, str], log: KafkaLog
) -> None:
    data(agent("topics", "setup", "--json"))

    async def mine() -> list[dict[str, Any]]:
        found = [m.status for m in await read_fleet(log) if m.status.group == environment["ARCHON_GROUP"]]
        return [status.model_dump() for status in found]

    command = (sys.executable, "-c", "from archon_agent.main import main; main()", "run", "--no-http")
    async with child_process(*command, env=environment) as process:
        async with asyncio.timeout(60):
            while not await mine():  # noqa: ASYNC110 - another process tells by a topic
                await asyncio.sleep(0.1)
        shown = [each for each in data(agent("status", "--json")) if each["pid"] == process.pid]
        assert [(each["group"], each["stale"]) for each in shown] == [(environment["ARCHON_GROUP"], False)]
        process.terminate()
        assert await process.wait() == 0
    assert await mine() == []


@pytest.mark.parametrize(
    "words", [("ingest", "."), ("run", "--drain"), ("lag",), ("status",), ("dlq", "list")]
)
def test_a_broker_that_is_not_there_ends_every_command_in_time(
    agent: Agent, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (port,) = free_ports(1)
    started = time.monotonic()
    done = agent(*words, ARCHON_KAFKA_SERVERS=f"127.0.0.1:{port}")
    assert done.returncode == 4
    assert f"127.0.0.1:{port}: connection refused" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < 15


def test_a_run_without_its_topics_says_what_to_do(agent: Agent) -> None:
    done = agent("run", "--drain")
    assert done.returncode == 3
    assert "topics setup" in done.stderr


async def test_a_commit_never_waits_for_a_batch_of_another_partition(log: KafkaLog) -> None:
    topic = group = f"topic-{uuid4().hex}"
    await log.admin.create([TopicSpec(topic, 2, {})], None)
    for partition in (0, 1):
        await log.publish(topic, [OutgoingMessage(None, b"x", partition=partition)] * 3)
    release = asyncio.Event()

    class Slow:
        """Holds partition 0 back."""

        blocked = None

        async def process(self, message: LogMessage) -> BatchOutcome:
            if message.partition == 0:
                await release.wait()
            return BatchOutcome()

    consumer = Consumer(log, cast("RequestProcessor", Slow()), group=group, topics=[topic], member_id="m")
    stop = asyncio.Event()
    running = asyncio.create_task(consumer.run(drain=False, stop=stop))
    async with asyncio.timeout(30):
        while (await log.admin.committed(group)).get(TopicPartition(topic, 1)) != 3:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert TopicPartition(topic, 0) not in await log.admin.committed(group)
        release.set()
        stop.set()
        await running
    assert (await log.admin.committed(group))[TopicPartition(topic, 0)] == 3


def test_a_file_for_object_storage_is_skipped_with_the_setting_until_somebody_chooses_a_store(
    agent: Agent, tmp_path: Path
) -> None:
    root = tmp_path / "app"
    root.mkdir()
    (root / "large.py").write_text("x = 1\n" * 30_000)
    planned = json.loads(agent("plan", str(root), "--json").stdout)
    assert [(skip["path"], skip["reason"]) for skip in planned["skipped"]] == [("large.py", "too_large")]
    assert "storage.provider" in planned["skipped"][0]["detail"]
    ingested = agent("ingest", str(root), "--json")
    assert ingested.returncode == 1
    assert json.loads(ingested.stdout)["files_published"] == 0
    chosen = agent("ingest", str(root), "--json", "--storage-provider", "local")
    assert chosen.returncode == 0
    assert data(chosen)["by_strategy"]["object_storage"]["files"] == 1
    assert "only agents that share" in chosen.stderr
