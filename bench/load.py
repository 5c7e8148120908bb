"""Load: whole projects through Kafka to one and to two agents, as processes; rate, latency, lag, memory, CPU.

Starts Apache Kafka on loopback (Java 17 and Maven), or uses `python -m bench load -- HOST:PORT`. Every
agent has one analysis process, so that two agents ask for twice the cores of one.
"""

from __future__ import annotations

import asyncio
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from bench import corpus, measure
from bench.kafka import broker, home_settings
from bench.measure import Row
from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.events.codec import decode_request
from core.events.topics import CONSUMER_GROUP, REQUESTED_V2
from core.log.base import OutgoingMessage, TopicPartition
from core.log.kafka import KafkaLog
from core.settings.kafka import KafkaSettings
from tests.servers.ports import free_port

SIZES = (1_000, 10_000)
ROUNDS = 3
SAMPLE_S = 0.25
PACED_SAMPLE_S = 0.05
# Events that are sent one at a time, to see what a file takes where nothing queues before it.
PACED = 20
P99_TARGET_S = 2.0
SPARKS = "▁▂▃▄▅▆▇█"
FILES, DURATION = "archon_ingestion_files_total", "archon_ingestion_duration_seconds_bucket"


@dataclass(frozen=True, slots=True)
class Load:
    """One run. `lag` are messages waiting, sampled; memory is the agents' peak, all processes, in bytes.

    `machine_cpu` and `own_cpu` are shares of the machine: all that was busy, and what of it was the agents,
    Kafka where it was started here, and this benchmark.
    """

    files: int
    agents: int
    seconds: float
    p50_s: float
    p99_s: float
    lag: tuple[int, ...]
    memory: int
    agents_cpu_s: float
    machine_cpu: float
    own_cpu: float

    @property
    def rate(self) -> float:
        """Files a second."""
        return self.files / self.seconds

    @property
    def cpu_ms_per_file(self) -> float:
        """CPU milliseconds of the agents for a file."""
        return self.agents_cpu_s / self.files * 1000


def main(arguments: list[str]) -> None:
    """Run everything and write docs/performance/load.md."""
    with tempfile.TemporaryDirectory(prefix="archon-load-") as scratch:
        work = Path(scratch)
        with broker(arguments, work) as (name, servers):
            loads = [asyncio.run(_size(servers, work / str(size), size)) for size in SIZES]
    rows = [row for pairs in loads for row in _rows(pairs)]
    measure.write("load", "Load", rows, _notes(name, loads))


async def _size(servers: str, work: Path, files: int) -> list[list[Load]]:
    """Alternating runs of one and two agents over a project of `files`."""
    messages = await _messages(servers, work, files)
    runs: list[list[Load]] = [[], [], []]
    for _ in range(ROUNDS):
        for agents in (1, 2):
            runs[agents - 1].append(await _load(servers, work, messages, files, agents))
    runs[2].append(await _load(servers, work, messages[:PACED], _files(messages[:PACED]), 1, paced=True))
    return runs


async def _messages(servers: str, work: Path, files: int) -> list[OutgoingMessage]:
    """The events that an ingestion of the project publishes."""
    source = corpus.make(work / "corpus", files)
    async with ingestion(
        home_settings(servers, work / "home"), Target(source, project_name=f"load-{files}")
    ) as job:
        summary = await job.publisher.publish(job.planner.stream())
    assert summary.files_published == files, summary.refusal
    async with KafkaLog(KafkaSettings(servers=servers)) as log:
        found = [message async for message in log.browse(REQUESTED_V2)]
    return [
        OutgoingMessage(message.key, message.value, message.headers)
        for message in found
        if dict(message.headers)["correlation_id"] == job.publisher.correlation_id.encode()
    ]


async def _load(
    servers: str,
    work: Path,
    messages: Sequence[OutgoingMessage],
    files: int,
    agents: int,
    *,
    paced: bool = False,
) -> Load:
    """Publish the events to agents that are waiting, and watch until every file has its record.

    All at once; `paced`, each when the one before it is done.
    """
    async with KafkaLog(KafkaSettings(servers=servers)) as log, aiohttp.ClientSession() as client:
        group = f"{CONSUMER_GROUP}-{uuid4().hex[:8]}"
        await _skip_what_is_there(log, group)
        async with _agents(servers, work, group, agents, client) as (urls, processes):
            psutil.cpu_percent()
            here = [psutil.Process()]  # the agents and Kafka are its children
            cpu_before, own_before, started = _cpu(processes), _cpu(here), time.perf_counter()
            lag: list[int] = []
            took: list[float] = []
            memory = published = 0
            for batch in [[message] for message in messages] if paced else [list(messages)]:
                sent = time.perf_counter()
                await log.publish(REQUESTED_V2, batch)
                published += _files(batch)
                while sum([await _done(client, url) for url in urls]) < published:
                    if paced:  # nothing to sample, and the answer counts
                        await asyncio.sleep(PACED_SAMPLE_S)
                        continue
                    lag.append(sum(place.lag for place in await log.lag(group, [REQUESTED_V2])))
                    memory = max(memory, sum(_memory(process) for process in processes))
                    await asyncio.sleep(SAMPLE_S)
                took += [time.perf_counter() - sent] * _files(batch)
            seconds = time.perf_counter() - started
            own = (_cpu(here) - own_before) / seconds / (os.cpu_count() or 1)
            buckets: Counter[float] = Counter()
            for url in urls:
                buckets.update(await _buckets(client, url))
            return Load(
                files,
                agents,
                seconds,
                statistics.median(took) if paced else _quantile(buckets, 0.5),
                statistics.quantiles(took, n=100)[98] if paced else _quantile(buckets, 0.99),
                tuple(lag),
                memory,
                _cpu(processes) - cpu_before,
                psutil.cpu_percent() / 100,
                own,
            )


def _files(messages: Sequence[OutgoingMessage]) -> int:
    return sum(len(decode_request(message.value).files) for message in messages)


async def _skip_what_is_there(log: KafkaLog, group: str) -> None:
    """Commit the group to the present ends, so that it sees only what comes."""
    member = await log.consumer(group, [REQUESTED_V2], member_id="bench")
    try:
        while not member.assignment():
            await member.poll(1, 0.2)
        places = await log.lag(group, [REQUESTED_V2])
        await member.commit({TopicPartition(place.topic, place.partition): place.end for place in places})
    finally:
        await member.close()


@asynccontextmanager
async def _agents(
    servers: str, work: Path, group: str, count: int, client: aiohttp.ClientSession
) -> AsyncIterator[tuple[list[str], list[psutil.Process]]]:
    """Agents that have joined the group, each with partitions; their URLs and processes."""
    started: list[subprocess.Popen[bytes]] = []
    urls: list[str] = []
    try:
        for _ in range(count):
            port = free_port()
            urls.append(f"http://127.0.0.1:{port}")
            environment = {
                **os.environ,
                "ARCHON_HOME": str(work / f"agent-{port}"),
                "KAFKA_BOOTSTRAP_SERVERS": servers,
                "ARCHON_CREATE_TOPICS": "true",
                "ARCHON_GROUP": group,
                "ARCHON_TOPICS": REQUESTED_V2,
                "ARCHON_HTTP": f"127.0.0.1:{port}",
                "ARCHON_AGENT_WORKERS": "1",
                "ARCHON_INDEX": "false",
            }
            command = [sys.executable, "-m", "archon_agent", "run"]
            started.append(_start(command, environment))
        while not all([await _value(client, url, "archon_assigned_partitions") for url in urls]):
            assert all(process.poll() is None for process in started), "an agent ended"
            await asyncio.sleep(SAMPLE_S)
        yield urls, [psutil.Process(process.pid) for process in started]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=60)


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


async def _samples(client: aiohttp.ClientSession, url: str, name: str) -> list[tuple[dict[str, str], float]]:
    try:
        async with client.get(f"{url}/metrics") as answer:
            text = await answer.text()
    except aiohttp.ClientError:
        return []
    families = text_string_to_metric_families(text)
    return [
        (sample.labels, sample.value)
        for family in families
        for sample in family.samples
        if sample.name == name
    ]


async def _value(client: aiohttp.ClientSession, url: str, name: str) -> float:
    return sum(value for _, value in await _samples(client, url, name))


async def _done(client: aiohttp.ClientSession, url: str) -> float:
    return await _value(client, url, FILES)


async def _buckets(client: aiohttp.ClientSession, url: str) -> Counter[float]:
    """Files by the upper bound of their time in seconds, cumulative."""
    found: Counter[float] = Counter()
    for labels, value in await _samples(client, url, DURATION):
        found[float(labels["le"])] += value  # type: ignore[assignment]  # typeshed counts in ints
    return found


def _quantile(buckets: Counter[float], q: float) -> float:
    """Interpolated within its bucket, as Prometheus does."""
    wanted = q * buckets[math.inf]
    lower = below = 0.0
    for upper, count in sorted(buckets.items()):
        if count >= wanted:
            inside = (wanted - below) / max(count - below, 1e-9)
            return lower + (upper - lower) * inside if math.isfinite(upper) else lower
        lower, below = upper, count
    return lower


def _memory(process: psutil.Process) -> int:
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            memory = each.memory_full_info()
            if sys.platform == "darwin":
                total += memory.uss
            else:
                total += memory.pss
        except psutil.Error:  # ended meanwhile
            continue
    return total


def _cpu(processes: Sequence[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        for each in (process, *process.children(recursive=True)):
            times = each.cpu_times()
            total += times.user + times.system
    return total


def _median(runs: Sequence[Load]) -> Load:
    """The run of median duration."""
    return sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]


def _rows(pair: list[list[Load]]) -> list[Row]:
    one, two = _median(pair[0]), _median(pair[1])
    paced = pair[2][0]
    rows = [
        Row(
            f"{paced.files:,} files, one event at a time: p99 per file",
            f"{paced.p99_s:.2f} s (p50 {paced.p50_s:.2f} s)",
            "–",
            "–",
            f"≤ {P99_TARGET_S:g} s",
            paced.p99_s <= P99_TARGET_S,
        )
    ]
    ratio = two.rate / one.rate
    name = f"{one.files:,} files: two agents against one"
    rows.append(Row(name, f"{two.rate:,.0f}/s", f"{one.rate:,.0f}/s", f"{ratio:.2f}", "≥ 1.7", ratio >= 1.7))
    return rows


def _sparkline(lag: Sequence[int]) -> str:
    step = max(1, len(lag) // 40)
    shown = lag[::step]
    top = max([*shown, 1])
    return "".join(SPARKS[round(value / top * (len(SPARKS) - 1))] for value in shown)


def _notes(name: str, loads: list[list[list[Load]]]) -> str:
    cores = os.cpu_count() or 1
    lines = [
        f"Measured on {name}, one node, on the same machine; the run of median duration out of {ROUNDS},",
        "one and two agents in turn. The events are those of an ingestion with the default batch size,",
        "published to agents that wait: all at once, for the rates and the table below, where a file's time",
        "is mostly its wait in the agent, from the receipt of its event, of 100 files, until its record is",
        "durable; one at a time, for the latency, from the sending of its event until the agent tells it",
        f"done, asked every {PACED_SAMPLE_S * 1000:.0f} ms. Agents have one analysis process each and no",
        "local index; memory is the proportional set of all their processes.",
        "",
        "| files | agents | seconds | files/s | p50 / p99 | agents' CPU | memory | machine busy | lag |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for pair in loads:
        for runs in pair[:2]:
            run = _median(runs)
            cells = (
                f"{run.files:,}",
                str(run.agents),
                f"{run.seconds:.1f}",
                f"{run.rate:,.0f}",
                f"{run.p50_s:.2f} / {run.p99_s:.2f} s",
                f"{run.agents_cpu_s / run.seconds:.2f} cores, {run.cpu_ms_per_file:.2f} ms/file",
                f"{run.memory / 2**20:.0f} MB",
                f"{run.machine_cpu:.0%} of {cores} cores",
                f"{max(run.lag, default=0)} {_sparkline(run.lag)}",
            )
            lines.append(f"| {' | '.join(cells)} |")
    one, two = _median(loads[-1][0]), _median(loads[-1][1])
    lines += [
        "",
        f"With one agent the machine was {one.machine_cpu:.0%} busy, {one.own_cpu:.0%} with the agent,",
        "Kafka and this benchmark, the rest with other work; with two agents",
        f"{two.machine_cpu:.0%}, {two.own_cpu:.0%} with theirs. A second agent has only what the first",
        "leaves idle, or takes from others. On machines of their own, agents share nothing but Kafka.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
