"""The embedded log and the results index against what the disk and a bare table take."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from bench import corpus, measure
from bench.measure import Row, Run
from core.database import Schema, connect, transaction
from core.events.intelligence import FileIdentity
from core.events.record import Analysis, FileRecord
from core.events.request import IndexRequest
from core.intelligence.analyzer import analyze
from core.intelligence.base import FileToAnalyze
from core.log.base import OutgoingMessage
from core.log.embedded import EmbeddedLog
from core.results.base import BatchResult
from core.results.index import ResultsIndex

ROUNDS = 5
MESSAGES = 40
MESSAGE_BYTES = 1 << 20
RECORDS = 2000
BATCH = 100
TOPIC = "requests"
BARE = Schema("bare table", 1, (("CREATE TABLE bare (json BLOB)",),), page_bytes=8 * 1024)


def main(_: list[str]) -> None:
    """Run everything and write docs/performance/stores.md."""
    disk, published = _runs("floor-disk", "publish")
    bare, indexed = _runs("floor-rows", "index")
    added = measure.median(published) - measure.median(disk)
    each = measure.median(indexed) / RECORDS * 1e6
    rows = [
        Row(
            f"publish {MESSAGES} messages of 1 MiB, each durable (floor: write and fdatasync)",
            f"{measure.median(published):.3f} s",
            f"{measure.median(disk):.3f} s",
            f"{measure.median_ratio(published, disk):.2f}",
            "≤ 0.15 s more",
            added <= 0.15,
        ),
        Row(
            "poll them again",
            f"{published[0].details['poll_s']:.3f} s",
            *("–", "–", "–", None),
        ),
        Row(
            "delay until another connection's consumer has a message, p99",
            f"{published[0].details['delay_p99_ms']:.0f} ms",
            *("–", "–", "≤ 60 ms", published[0].details["delay_p99_ms"] <= 60),
        ),
        Row(
            "CPU to index a record with its words (floor: to put its JSON into a bare table)",
            f"{each:.0f} µs",
            f"{measure.median(bare) / RECORDS * 1e6:.0f} µs",
            f"{measure.median_ratio(indexed, bare):.2f}",
            "–",
            None,
        ),
        Row(
            "… when its batch is delivered again",
            f"{indexed[0].details['again_us']:.0f} µs",
            *("–", "–", "–", None),
        ),
    ]
    measure.write("stores", "The local stores", rows, f"Medians of {ROUNDS} alternating runs.")


def _runs(floor: str, subject: str) -> list[list[Run]]:
    def child(task: str) -> Run:
        with tempfile.TemporaryDirectory(prefix="archon-bench-") as directory:
            return measure.child("bench.stores", task, directory)

    return measure.alternate(ROUNDS, lambda: child(floor), lambda: child(subject))


# --- what runs in the children ---


def _floor_disk(directory: Path) -> None:
    value = os.urandom(MESSAGE_BYTES)
    started = time.perf_counter()
    file = os.open(directory / "floor", os.O_CREAT | os.O_WRONLY)
    for _ in range(MESSAGES):
        os.write(file, value)
        if sys.platform == "darwin":
            os.fsync(file)
        else:
            os.fdatasync(file)
    measure.report_child(time.perf_counter() - started)


async def _publish(directory: Path) -> None:

    value = os.urandom(MESSAGE_BYTES)
    started = time.perf_counter()
    async with EmbeddedLog(directory / "log.sqlite") as log:
        for n in range(MESSAGES):
            await log.publish(TOPIC, [OutgoingMessage(b"%d" % n, value)])
    seconds = time.perf_counter() - started
    async with EmbeddedLog(directory / "log.sqlite") as log, EmbeddedLog(directory / "log.sqlite") as other:
        consumer = await log.consumer("bench", [TOPIC], member_id="bench")
        started = time.perf_counter()
        for _ in range(MESSAGES):
            await consumer.poll(1, 10.0)
        polled = time.perf_counter() - started
        delays = []
        for n in range(100):
            waiting = asyncio.create_task(consumer.poll(1, 10.0))
            await asyncio.sleep(0.001 * (n % 60))
            published = time.perf_counter()
            await other.publish(TOPIC, [OutgoingMessage(None, b"now")])
            await waiting
            delays.append(time.perf_counter() - published)
    measure.report_child(seconds, poll_s=polled, delay_p99_ms=sorted(delays)[98] * 1000)


def _floor_rows(directory: Path) -> None:
    """The same JSON in a bare table, in the same transactions."""
    values = [(record.analysis.json,) for record in _records()]
    with closing(connect(directory / "floor.sqlite", BARE)) as connection:
        started = time.process_time()
        for at in range(0, RECORDS, BATCH):
            with transaction(connection):
                connection.executemany("INSERT INTO bare VALUES (?)", values[at : at + BATCH])
        measure.report_child(time.process_time() - started)


async def _index(directory: Path) -> None:
    records = _records()
    request = IndexRequest("", "", "", datetime.now(UTC), "2.0.0", "1", "bench", None, ())
    batches = [BatchResult(request, records[at : at + BATCH], ()) for at in range(0, RECORDS, BATCH)]
    took = []
    async with ResultsIndex(directory / "results.sqlite") as index:
        for _ in range(2):
            started = time.process_time()
            for batch in batches:
                await index.write(batch)
            took.append(time.process_time() - started)
    measure.report_child(took[0], again_us=took[1] / RECORDS * 1e6)


def _records() -> list[FileRecord]:
    """Records of the generated corpus, as a consumer makes them."""
    now = datetime.now(UTC)
    return [
        FileRecord(
            FileIdentity(
                project="bench",
                path=path,
                checksum=f"sha256:{n:064x}",
                checksum_verified=True,
                size_bytes=len(content),
                content_source="inline",
                correlation_id="bench",
                generated_at=now,
            ),
            Analysis.of(analyze(FileToAnalyze(path, content))),
        )
        for n, (path, content) in enumerate(corpus.generate(RECORDS, seed=7))
    ]


if __name__ == "__main__":
    task, where = sys.argv[1], Path(sys.argv[2])
    match task:
        case "floor-disk":
            _floor_disk(where)
        case "publish":
            asyncio.run(_publish(where))
        case "floor-rows":
            _floor_rows(where)
        case "index":
            asyncio.run(_index(where))
