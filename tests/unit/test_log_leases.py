"""Who reads which partition of the embedded log, and what happens when a member is lost."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic

import psutil
import pytest

from core.errors import ConfigurationError
from core.log.base import LogConsumer, TopicPartition
from core.log.embedded import EmbeddedLog
from core.log.embedded.liveness import ProcessId, is_running, this_process
from tests.contract.event_log import numbered, publish, take, values

SESSION_S = 30.0
WHERE = TopicPartition("orders", 0)


class Time:
    """A clock that stands still, and heartbeats that beat when told."""

    def __init__(self) -> None:
        self.now = 1_763_812_800.0
        self._beats: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Only heartbeats, every third of the session, can be woken; housekeeping sleeps on."""
        waiting = asyncio.get_running_loop().create_future()
        if seconds == SESSION_S / 3:
            self._beats.put_nowait(waiting)
        await waiting

    async def beat(self) -> None:
        """Let the next heartbeat happen, and wait until it has."""
        (await self._beats.get()).set_result(None)
        self._beats.put_nowait(await self._beats.get())


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def open_log(path: Path, time: Time) -> EmbeddedLog:
    return EmbeddedLog(path, partitions=2, session_timeout_s=SESSION_S, clock=time.clock, sleep=time.sleep)


@pytest.fixture
async def log(path: Path, time: Time) -> AsyncIterator[EmbeddedLog]:
    async with open_log(path, time) as log:
        yield log


@pytest.fixture
async def other(path: Path, time: Time) -> AsyncIterator[EmbeddedLog]:
    """The log of another agent."""
    async with open_log(path, time) as log:
        yield log


async def test_the_refusal_names_the_owner_and_what_to_do(log: EmbeddedLog, other: EmbeddedLog) -> None:
    await log.consumer("archon", ["orders"], member_id="agent-7f3")
    with pytest.raises(ConfigurationError) as caught:
        await other.consumer("archon", ["orders"], member_id="agent-8")
    assert str(caught.value) == (
        "every partition of orders is already read in group archon by"
        f" agent-7f3 (pid {os.getpid()}, since 2025-11-22 12:00:00 UTC)"
    )
    assert caught.value.hint == (
        "stop that agent, or choose another --group; to share a topic among agents, use Kafka"
    )


async def test_a_refused_member_leaves_no_trace(log: EmbeddedLog, other: EmbeddedLog) -> None:
    first = await log.consumer("archon", ["orders"], member_id="first")
    with pytest.raises(ConfigurationError, match="first"):
        await other.consumer("archon", ["orders", "orders"], member_id="second")
    await first.close()
    assert await log.groups() == []
    await log.consumer("archon", ["orders"], member_id="third")


async def test_no_topic_is_a_setting_to_change(log: EmbeddedLog) -> None:
    with pytest.raises(ConfigurationError, match="no topics"):
        await log.consumer("archon", [], member_id="agent")


async def test_members_of_one_group_can_read_different_topics(log: EmbeddedLog, other: EmbeddedLog) -> None:
    first = await log.consumer("archon", ["orders"], member_id="first")
    second = await other.consumer("archon", ["returns"], member_id="second")
    assert {where.topic for where in first.assignment()} == {"orders"}
    assert {where.topic for where in second.assignment()} == {"returns"}


async def test_a_member_takes_what_is_free_now_and_the_rest_when_it_becomes_free(
    log: EmbeddedLog, time: Time
) -> None:
    second_time = Time()
    first = await log.consumer("archon", ["orders"], member_id="first")
    async with open_log(log._store.reader.path, second_time) as other:
        second = await other.consumer("archon", ["orders", "returns"], member_id="second")
        assert {where.topic for where in second.assignment()} == {"returns"}
        await publish(log, "orders", numbered(1))
        await first.close()
        await second_time.beat()
        assert values(await take(second, 1)) == [0]
        assert {where.topic for where in second.assignment()} == {"orders", "returns"}


async def test_heartbeats_keep_the_lease(log: EmbeddedLog, other: EmbeddedLog, time: Time) -> None:
    await log.consumer("archon", ["orders"], member_id="first")
    time.now += SESSION_S - 1
    await time.beat()
    time.now += SESSION_S - 1
    with pytest.raises(ConfigurationError, match="first"):
        await other.consumer("archon", ["orders"], member_id="second")


async def _lose(log: EmbeddedLog, other: EmbeddedLog, time: Time) -> tuple[LogConsumer, LogConsumer]:
    """The members that lost and won every partition because the first was silent too long."""
    first = await log.consumer("archon", ["orders"], member_id="silent")
    await publish(log, "orders", numbered(4))
    await take(first, 4)
    time.now += SESSION_S + 1
    return first, await other.consumer("archon", ["orders"], member_id="heir")


async def test_a_silent_member_loses_its_partitions_and_is_told(
    log: EmbeddedLog, other: EmbeddedLog, time: Time
) -> None:
    silent, heir = await _lose(log, other, time)
    revoked: list[frozenset[TopicPartition]] = []

    async def on_revoked(partitions: frozenset[TopicPartition]) -> None:
        revoked.append(partitions)
        await silent.commit({WHERE: 4})

    silent.on_revoked(on_revoked)
    assert list(await silent.poll(10, 0.0)) == []
    assert revoked == [frozenset({WHERE, TopicPartition("orders", 1)})]
    assert silent.assignment() == frozenset()
    assert values(await take(heir, 4)) == [0, 1, 2, 3]


async def test_commits_of_a_member_that_lost_its_partitions_are_ignored(
    log: EmbeddedLog, other: EmbeddedLog, time: Time
) -> None:
    silent, heir = await _lose(log, other, time)
    await heir.commit({WHERE: 2})
    await silent.commit({WHERE: 4})
    assert [lag.committed for lag in await log.lag("archon")] == [2, None]


async def test_a_member_that_lost_its_partitions_comes_back_when_they_are_free(
    log: EmbeddedLog, path: Path, time: Time
) -> None:
    heirs_time = Time()
    heirs_time.now = time.now + SESSION_S + 1
    async with open_log(path, heirs_time) as other:
        silent = await log.consumer("archon", ["orders"], member_id="silent")
        await publish(log, "orders", numbered(4))
        await take(silent, 4)
        heir = await other.consumer("archon", ["orders"], member_id="heir")
        await heir.commit({WHERE: 1})
        await time.beat()
        assert list(await silent.poll(10, 0.0)) == []
        await heir.close()
        await time.beat()
        assert values(await take(silent, 3)) == [1, 2, 3]
        await silent.commit({WHERE: 4})
        assert [lag.lag for lag in await log.lag("archon")] == [0, 0]


async def test_a_member_evicted_and_back_between_two_polls_reads_from_the_commit(
    log: EmbeddedLog, path: Path, time: Time
) -> None:
    heirs_time = Time()
    heirs_time.now = time.now + SESSION_S + 1
    revoked: list[frozenset[TopicPartition]] = []

    async def on_revoked(partitions: frozenset[TopicPartition]) -> None:
        revoked.append(partitions)

    async with open_log(path, heirs_time) as other:
        silent = await log.consumer("archon", ["orders"], member_id="silent")
        silent.on_revoked(on_revoked)
        await publish(log, "orders", numbered(2))
        await take(silent, 2)
        await (await other.consumer("archon", ["orders"], member_id="heir")).close()
        await time.beat()
        assert values(await take(silent, 2)) == [0, 1]
        assert revoked == [frozenset({WHERE, TopicPartition("orders", 1)})]


async def test_a_heartbeat_that_cannot_be_written_is_told_and_tried_again(
    log: EmbeddedLog, other: EmbeddedLog, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    await log.consumer("archon", ["orders"], member_id="agent")
    await log._store.writer.run(lambda connection: connection.execute("PRAGMA query_only = ON"))
    time.now += SESSION_S - 1
    with caplog.at_level(logging.WARNING):
        await time.beat()
    assert "agent keeps no lease in group archon" in caplog.text
    await log._store.writer.run(lambda connection: connection.execute("PRAGMA query_only = OFF"))
    await time.beat()
    time.now += SESSION_S - 1
    with pytest.raises(ConfigurationError, match="agent"):
        await other.consumer("archon", ["orders"], member_id="second")


_JOIN = """
import asyncio, sys
from pathlib import Path
from core.log.embedded import EmbeddedLog

async def main() -> None:
    async with EmbeddedLog(Path(sys.argv[1])) as log:
        consumer = await log.consumer("archon", ["orders"], member_id="doomed")
        print(*[message.value.decode() for message in await consumer.poll(100, 30.0)], flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def doomed(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that joins, prints what its first poll gives, and waits."""
    command = [sys.executable, "-c", _JOIN, str(path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def _kill(process: subprocess.Popen[str]) -> None:
    """Until it is dead, and still a zombie."""
    process.kill()
    deadline = monotonic() + 60
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        assert monotonic() < deadline


async def test_the_partitions_of_a_killed_process_are_free_at_once(
    path: Path, doomed: subprocess.Popen[str]
) -> None:
    async with EmbeddedLog(path) as log:
        await publish(log, "orders", numbered(3))
        assert doomed.stdout is not None
        assert await asyncio.to_thread(doomed.stdout.readline) == "0 1 2\n"
        with pytest.raises(ConfigurationError, match=rf"doomed \(pid {doomed.pid},"):
            await log.consumer("archon", ["orders"], member_id="heir")
        _kill(doomed)
        heir = await log.consumer("archon", ["orders"], member_id="heir")
        assert values(await take(heir, 3)) == [0, 1, 2]


def test_this_process_is_running() -> None:
    assert is_running(this_process())


def test_a_later_process_with_the_same_number_is_another() -> None:
    here = this_process()
    assert is_running(here._replace(started="12345")) is False


def test_a_process_of_another_namespace_cannot_be_judged() -> None:
    assert is_running(this_process()._replace(namespace="another boot, or a container")) is None


@pytest.mark.parametrize(
    ("pid", "running"),
    [(os.getpid(), True), (1, True), (2**22 + 1, False)],
    ids=["this process", "init", "a number no process can have"],
)
def test_without_proc_the_number_alone_decides(pid: int, running: bool) -> None:
    assert is_running(ProcessId(pid, "", this_process().namespace)) is running
