"""Kafka: publishing and consuming against bare clients on the same broker, and memory over a long backlog.

Starts Apache Kafka on loopback (Java 17 and Maven), or uses `python -m bench kafka -- HOST:PORT`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import psutil

from bench import corpus, measure
from bench.measure import Row, Run
from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.consumer import Consumer, Limits
from core.events.topics import REQUESTED_V2
from core.log.base import OutgoingMessage, Position
from core.log.kafka import KafkaLog
from core.log.kafka.setup import TopicSpec, specs
from core.outcome_events import BatchOutcome
from core.processor import RequestProcessor
from core.settings import load
from core.settings.kafka import KafkaSettings
from tests.brokers.kafka.start import ApacheKafka, version
from tests.faults.oracle import event

ROUNDS = 5
FILES = 5_000
BACKLOG = 10_000
PARTITIONS = 6
_CONFIG = {"max.message.bytes": str(6 << 20)}

Message = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]


def main(arguments: list[str]) -> None:
    """Run everything and write docs/performance/kafka.md."""
    with tempfile.TemporaryDirectory(prefix="archon-bench-") as scratch:
        work = Path(scratch)
        with broker(arguments, work) as (name, servers):
            messages = asyncio.run(_capture(servers, work))
            rows = [*_publish(servers, messages), *_consume(servers, messages), _ingest(servers, work)]
            rows.append(_memory(servers, work))
    notes = (
        f"Measured on {name}, one node, loopback; medians of {ROUNDS} alternating runs over the events of a"
        f" generated corpus of {FILES:,} files, 40 MB, zstd. Ratios are rates: archon's over the bare"
        " client's with the same settings (idempotent, acks=all, same linger and batch size). aiokafka and"
        " confluent-kafka (librdkafka, C) run beside for comparison."
    )
    measure.write("kafka", "Kafka", rows, notes)


@contextlib.contextmanager
def broker(arguments: list[str], work: Path) -> Iterator[tuple[str, str]]:
    if arguments:
        yield arguments[0], arguments[0]
        return
    cluster = ApacheKafka(work / "kafka")
    cluster.start()
    try:
        yield f"Apache Kafka {version()}", cluster.servers()
    finally:
        cluster.stop()


def _settings(servers: str, **more: Any) -> KafkaSettings:
    return KafkaSettings(servers=servers, partitions=PARTITIONS, create_topics=True, **more)


async def _capture(servers: str, work: Path) -> Path:
    """Ingest the corpus once; the messages as they stand in the topic, in a file."""
    source = corpus.make(work / "corpus", FILES)
    async with ingestion(home_settings(servers, work / "capture"), Target(source)) as job:
        await job.publisher.publish(job.planner.stream())
    async with KafkaLog(_settings(servers)) as log:
        taken: list[Message] = [
            (message.key, message.value, message.headers) async for message in log.browse(REQUESTED_V2)
        ]
    file = work / "messages"
    file.write_bytes(pickle.dumps(taken))
    return file


def home_settings(servers: str, home: Path) -> Any:
    flags = {"home": home, "kafka.servers": servers, "kafka.create_topics": True}
    return load({**flags, "kafka.partitions": PARTITIONS}, environ={}).settings


def _publish(servers: str, messages: Path) -> list[Row]:
    archon, bare, confluent = measure.alternate(
        ROUNDS,
        *(
            lambda way=way: _child("publish", way, servers, str(messages))
            for way in ("archon", "aiokafka", "confluent")
        ),
    )
    return [
        _row("publish the same encoded events", archon, bare, "≥ 0.9", 0.9),
        _row("… confluent-kafka beside aiokafka", confluent, bare, "–", None),
    ]


def _consume(servers: str, messages: Path) -> list[Row]:
    topic = f"bench-{uuid4().hex}"
    _child("fill", "archon", servers, str(messages), topic)
    archon, bare, confluent = measure.alternate(
        ROUNDS,
        *(
            lambda way=way: _child("consume", way, servers, str(messages), topic)
            for way in ("archon", "aiokafka", "confluent")
        ),
    )
    return [
        _row("consume and commit, without intelligence", archon, bare, "≥ 0.8", 0.8),
        _row("… confluent-kafka beside aiokafka", confluent, bare, "–", None),
    ]


def _ingest(servers: str, work: Path) -> Row:
    """The whole of `ingest` onto Kafka: list, read, hash, encode, publish."""
    runs = [
        _child("ingest", "archon", servers, str(work / "corpus"), str(work / f"home-{number}"))
        for number in range(ROUNDS)
    ]
    return Row("whole `ingest` of the corpus", f"{measure.median(runs):.3f} s", "–", "–", "–", None)


def _memory(servers: str, work: Path) -> Row:
    """Resident memory of an agent, sampled while it works through a long backlog."""
    topic = f"backlog-{uuid4().hex}"
    asyncio.run(_fill_backlog(servers, topic))
    environment = {
        "ARCHON_HOME": str(work / "agent"),
        "ARCHON_KAFKA_SERVERS": servers,
        "ARCHON_CREATE_TOPICS": "true",
        "ARCHON_TOPICS": topic,
        "ARCHON_GROUP": topic,
        "ARCHON_INDEX": "false",
        "ARCHON_AGENT_WORKERS": "1",
    }
    agent = subprocess.Popen(
        [sys.executable, "-c", "from archon_agent.main import main; main()", "run", "--drain", "--no-http"],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    started = time.perf_counter()
    sizes = asyncio.run(_sample(servers, topic, agent))
    seconds = time.perf_counter() - started
    quarter = len(sizes) // 4
    early, late = (statistics.median(part) for part in (sizes[quarter : 2 * quarter], sizes[-quarter:]))
    rate = f"{BACKLOG / seconds:,.0f}/s, peak {max(sizes) / 2**20:.0f} MB"
    return Row(
        f"agent's memory over {BACKLOG:,} events, last quarter against second ({rate})",
        f"{late / 2**20:.0f} MB",
        f"{early / 2**20:.0f} MB",
        f"{late / early:.2f}",
        "0.9 to 1.1",
        0.9 <= late / early <= 1.1,
    )


async def _fill_backlog(servers: str, topic: str) -> None:
    async with KafkaLog(_settings(servers)) as log:
        await log.admin.create(specs(_settings(servers), [topic]), None)
        for start in range(0, BACKLOG, 500):
            events = [event("bench", number) for number in range(start, min(BACKLOG, start + 500))]
            await log.publish(topic, [OutgoingMessage(None, value) for _, value in events])


async def _sample(servers: str, topic: str, agent: subprocess.Popen[bytes]) -> list[int]:
    process = psutil.Process(agent.pid)
    sizes: list[int] = []
    while agent.poll() is None:
        with contextlib.suppress(psutil.Error):
            if resident := process.memory_info().rss:  # 0 once it has ended
                sizes.append(resident)
        await asyncio.sleep(0.25)
    async with KafkaLog(_settings(servers)) as log:
        left = sum(place.lag for place in await log.lag(topic, [topic]))
    if left:
        raise RuntimeError(f"the agent ended with {left} events left")
    return sizes


def _row(name: str, subject: list[Run], floor: list[Run], target: str, least: float | None) -> Row:
    ratio = 1 / measure.median_ratio(subject, floor)
    figure, beside = (
        f"{runs[0].details['bytes'] / measure.median(runs) / 2**20:,.0f} MB/s" for runs in (subject, floor)
    )
    return Row(name, figure, beside, f"{ratio:.2f}", target, None if least is None else ratio >= least)


def _child(task: str, way: str, servers: str, *arguments: str) -> Run:
    return measure.child("bench.kafka", task, way, servers, *arguments)


# --- what runs in the children ---


async def publish_archon(servers: str, messages: list[Message], topic: str) -> float:
    """Through the log, each event a publication of its own, four at once as the publisher does."""
    async with KafkaLog(_settings(servers)) as log:
        await log.max_message_bytes(topic)
        gate = asyncio.Semaphore(4)

        async def one(message: Message) -> None:
            async with gate:
                (answer,) = await log.publish(topic, [OutgoingMessage(*message)])
                if not isinstance(answer, Position):
                    raise TypeError(answer)

        await log.publish(topic, [OutgoingMessage(b"warm", b"")])
        started = time.perf_counter()
        await asyncio.gather(*(one(message) for message in messages))
        return time.perf_counter() - started


async def publish_aiokafka(servers: str, messages: list[Message], topic: str) -> float:
    """The bare producer, everything at once."""
    from aiokafka import AIOKafkaProducer

    defaults = KafkaSettings()
    async with AIOKafkaProducer(
        bootstrap_servers=servers,
        enable_idempotence=True,
        acks="all",
        compression_type="zstd",
        linger_ms=round(defaults.linger * 1000),
        max_batch_size=defaults.batch_bytes,
        max_request_size=2**31 - 1,
    ) as producer:
        await producer.send_and_wait(topic, b"", key=b"warm")
        started = time.perf_counter()
        sent = [
            await producer.send(topic, value, key, headers=list(headers)) for key, value, headers in messages
        ]
        await asyncio.gather(*sent)
        return time.perf_counter() - started


async def publish_confluent(servers: str, messages: list[Message], topic: str) -> float:
    """librdkafka's producer."""
    from confluent_kafka import Producer

    producer = Producer(
        {
            "bootstrap.servers": servers,
            "enable.idempotence": True,
            "compression.type": "zstd",
            "linger.ms": 5,
            "message.max.bytes": 6 << 20,
        }
    )
    producer.produce(topic, b"", b"warm")
    producer.flush(30)
    started = time.perf_counter()
    for key, value, headers in messages:
        producer.produce(topic, value, key, headers=list(headers))
        producer.poll(0)
    if producer.flush(60):
        raise RuntimeError("not everything was acknowledged")
    return time.perf_counter() - started


class _Nothing:
    """A processor that only lets the loop go round."""

    blocked = None

    async def process(self, _message: object) -> BatchOutcome:
        return BatchOutcome()


async def consume_archon(servers: str, messages: list[Message], topic: str) -> float:
    """The consumer's loop: poll, track, commit the low-water mark."""
    group = uuid4().hex
    async with KafkaLog(_settings(servers)) as log:
        consumer = Consumer(
            log,
            cast("RequestProcessor", _Nothing()),
            group=group,
            topics=[topic],
            member_id=group,
            limits=Limits(),
        )
        stop = asyncio.Event()
        running = asyncio.create_task(consumer.run(drain=False, stop=stop))
        async for _ in _until(lambda: consumer.has_joined):
            pass
        started = time.perf_counter()
        async for _ in _until(lambda: consumer.summary.events >= len(messages)):
            pass
        seconds = time.perf_counter() - started
        stop.set()
        await running
    return seconds


async def _until(met: Any) -> AsyncIterator[None]:
    while not met():
        await asyncio.sleep(0.001)
        yield


async def consume_aiokafka(servers: str, messages: list[Message], topic: str) -> float:
    """The bare consumer, committing after every poll."""
    from aiokafka import AIOKafkaConsumer

    async with AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id=uuid4().hex,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=6 << 20,
        fetch_max_bytes=6 << 20,
    ) as consumer:
        started = time.perf_counter()
        count = 0
        while count < len(messages):
            fetched = await consumer.getmany(timeout_ms=250, max_records=8)
            if fetched:
                count += sum(map(len, fetched.values()))
                await consumer.commit()
        return time.perf_counter() - started


async def consume_confluent(servers: str, messages: list[Message], topic: str) -> float:
    """librdkafka's consumer."""
    from confluent_kafka import Consumer as Confluent

    consumer = Confluent(
        {
            "bootstrap.servers": servers,
            "group.id": uuid4().hex,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    while not consumer.assignment():
        consumer.poll(0.01)
    started = time.perf_counter()
    count = 0
    while count < len(messages):
        if got := consumer.consume(8, 0.25):
            count += len(got)
            consumer.commit(asynchronous=True)
    consumer.close()
    return time.perf_counter() - started


def _load(file: Path) -> list[Message]:
    messages: list[Message] = pickle.loads(file.read_bytes())  # noqa: S301 - our own file
    return messages


async def _run_child(task: str, way: str, servers: str, arguments: list[str]) -> None:
    if task == "ingest":
        source, home = map(Path, arguments)
        started = time.perf_counter()
        async with ingestion(home_settings(servers, home), Target(source, force_reindex=True)) as job:
            await job.publisher.publish(job.planner.stream())
        measure.report_child(time.perf_counter() - started)
        return
    messages = _load(Path(arguments[0]))
    size = sum(len(value or b"") for _, value, _ in messages)
    topic = arguments[1] if len(arguments) > 1 else f"bench-{uuid4().hex}"
    if task != "consume":
        async with KafkaLog(_settings(servers)) as log:
            await log.admin.create([TopicSpec(topic, PARTITIONS, _CONFIG)], None)
    verb = "consume" if task == "consume" else "publish"
    seconds = await globals()[f"{verb}_{way}"](servers, messages, topic)
    measure.report_child(seconds, bytes=size)


if __name__ == "__main__":
    asyncio.run(_run_child(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
