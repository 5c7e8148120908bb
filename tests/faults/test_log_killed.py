"""kill -9 of processes that use the embedded log, judged by what they had acknowledged before."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from core.log.base import TopicPartition
from core.log.embedded import EmbeddedLog
from tests.contract.event_log import browsed, numbered, publish, take, values

BATCH = 7
ROOT = Path(__file__).parents[2]

_PUBLISHER = """
import asyncio, itertools, sys
from pathlib import Path
from core.log.base import OutgoingMessage
from core.log.embedded import EmbeddedLog

async def main() -> None:
    async with EmbeddedLog(Path(sys.argv[1]), partitions=2) as log:
        for n in itertools.count():
            batch = [OutgoingMessage(None, b"%d " % n * 20_000, partition=n % 2)] * 7
            await log.publish("orders", batch)
            print(n, flush=True)

asyncio.run(main())
"""

_CONSUMER = """
import asyncio, sys
from pathlib import Path
from core.log.embedded import EmbeddedLog

async def main() -> None:
    async with EmbeddedLog(Path(sys.argv[1])) as log:
        consumer = await log.consumer("archon", ["orders"], member_id="doomed")
        while True:
            for message in await consumer.poll(1, 1.0):
                await consumer.commit({message.where: message.offset + 1})
                print(message.offset, flush=True)

asyncio.run(main())
"""


@contextmanager
def running(script: str, path: Path) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout
        process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.mark.parametrize("acknowledged", [1, 5, 20])
async def test_what_a_killed_publisher_had_acknowledged_is_there_and_nothing_by_halves(
    path: Path, acknowledged: int
) -> None:
    with running(_PUBLISHER, path) as (process, output):
        last = [int(output.readline()) for _ in range(acknowledged)][-1]
        process.send_signal(signal.SIGKILL)
        last = max([last, *map(int, output.read().split())])
    async with EmbeddedLog(path) as log:
        numbers = [int((message.value or b"").split()[0]) for message in await browsed(log, "orders")]
        assert set(range(last + 1)) <= set(numbers)
        assert {numbers.count(n) for n in set(numbers)} == {BATCH}
        await publish(log, "orders", numbered(1))


async def test_what_a_killed_consumer_had_committed_is_not_delivered_again_and_the_rest_is(
    path: Path,
) -> None:
    async with EmbeddedLog(path, partitions=1) as log:
        await publish(log, "orders", numbered(500))
        with running(_CONSUMER, path) as (process, output):
            for _ in range(10):
                output.readline()
            process.send_signal(signal.SIGKILL)
            committed = 10 + len(output.read().split())
            process.wait()
        heir = await log.consumer("archon", ["orders"], member_id="heir")
        (lag,) = await log.lag("archon")
        assert lag.committed in {committed, committed + 1}
        assert heir.assignment() == {TopicPartition("orders", 0)}
        assert values(await take(heir, lag.lag)) == list(range(lag.committed or 0, 500))
