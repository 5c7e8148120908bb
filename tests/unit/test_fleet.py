"""Agents say how they are, and anyone reads them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archon_agent.commands.status import state
from core.events.agent import AgentStatus
from core.events.common import Source
from core.events.topics import AGENT_STATUS
from core.fleet import Member, Tally, Work, owners, read_fleet, reporting
from core.log.base import OutgoingMessage, Position, TopicPartition
from core.log.embedded import EmbeddedLog
from core.progress import (
    BatchAbandoned,
    BatchFinished,
    BatchReceived,
    BreakerChanged,
    DeadLettered,
    FileFailed,
    FileResolved,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """Time that goes only when told; serves as the wall clock and the monotonic one."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


def tally(clock: Clock, name: str = "agent-1", group: str = "g") -> Tally:
    source = Source(service="archon-agent", instance_id=name, hostname="host")
    return Tally(source, group, clock=clock, now=clock.now)


def finished(indexed: int, failed: int = 0) -> BatchFinished:
    return BatchFinished("t", 0, 0, indexed, failed, 0, 0, 1.0)


def test_events_are_counted() -> None:
    clock = Clock()
    counted = tally(clock)
    counted(BatchReceived("t", 0, 0, "p", 4))
    assert counted.files_in_flight == 4
    counted(FileResolved("a", "object_storage", 1000, 0.1, cache_hit=True))
    counted(FileResolved("b", "object_storage", 2000, 0.1, cache_hit=False))
    counted(FileResolved("c", "inline", 3000, 0.1))
    counted(FileFailed("p", "x.py", "content_missing", "gone"))
    counted(DeadLettered("t", 0, 0, 1, "content_missing", "gone"))
    counted(finished(3, failed=1))
    assert counted.files_in_flight == 0
    clock.seconds = 2.0
    status = counted.status(Work(frozenset({TopicPartition("t", 1)}), 2, 77, 0.5, None))
    assert (status.events, status.files_processed, status.files_failed, status.dead_lettered) == (1, 3, 1, 1)
    assert (status.files_per_s, status.bytes_per_s) == (1.5, 3000.0)
    assert (status.caches["object"].hits, status.caches["object"].misses) == (1, 1)
    assert [error.message for error in status.last_errors] == ["x.py: gone"]
    assert [(held.topic, held.partition) for held in status.partitions] == [("t", 1)]
    assert (status.in_flight_events, status.in_flight_bytes, status.progressed_s) == (2, 77, 0.5)


def test_rates_forget_what_is_older_than_a_minute() -> None:
    clock = Clock()
    counted = tally(clock)
    counted(finished(600))
    clock.seconds = 61.0
    assert counted.status(Work()).files_per_s == 0.0


def test_secrets_do_not_reach_the_topic() -> None:
    link = "https://bucket.example/key?X-Amz-Signature=" + "a" * 64
    status = tally(Clock()).status(Work(blocked=f"results: GET {link} failed"))
    assert "a" * 64 not in status.model_dump_json()


def test_an_agent_is_stale_after_three_silent_intervals() -> None:
    status = tally(Clock()).status(Work())
    assert not Member(status, 15.0).is_stale
    assert Member(status, 15.1).is_stale


def test_owners_are_live_agents_of_the_group() -> None:
    held = Work(frozenset({TopicPartition("t", 0)}))
    live = Member(tally(Clock(), "live").status(held), 1.0)
    other = Member(tally(Clock(), "other", "another group").status(held), 1.0)
    stale = Member(tally(Clock(), "stale").status(Work(frozenset({TopicPartition("t", 1)}))), 99.0)
    assert owners([live, other, stale], "g") == {TopicPartition("t", 0): "live"}
    assert owners([other], "g") == {}


@pytest.fixture
def log(tmp_path: Path) -> EmbeddedLog:
    return EmbeddedLog(tmp_path / "log.sqlite")


async def test_an_agent_speaks_at_intervals_and_says_goodbye(log: EmbeddedLog) -> None:
    clock = Clock()
    counted = tally(clock)
    slept: list[float] = []
    woken = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.seconds += seconds
        if len(slept) == 3:
            woken.set()
            await asyncio.Event().wait()

    async with log:
        async with reporting(log, lambda: counted.status(Work()), interval_s=5, sleep=sleep):
            await woken.wait()
            (member,) = await read_fleet(log)
            assert (member.status.id, member.is_stale) == ("agent-1", False)
        assert slept == [5, 5, 5]
        assert await read_fleet(log) == []


async def test_an_agents_age_does_not_rest_on_its_own_clock(log: EmbeddedLog) -> None:
    clock = Clock()
    clock.seconds = 1e9  # decades ahead of the log's clock
    async with log:
        status = tally(clock).status(Work()).model_dump_json().encode()
        (position,) = await log.publish(AGENT_STATUS, [OutgoingMessage(b"agent-1", status)])
        assert isinstance(position, Position)
        message = await log.read(position)
        assert message
        later = datetime.fromtimestamp(message.timestamp_ms / 1000 + 20, UTC)
        (member,) = await read_fleet(log, now=lambda: later)
    assert member.age_s == pytest.approx(20, abs=0.01)
    assert member.is_stale


@pytest.mark.parametrize("path", ["caf\udce9.py", "\ud800.py", "\x1b[31mred.py"])
async def test_a_file_of_any_name_leaves_the_status_readable(log: EmbeddedLog, path: str) -> None:
    counted = tally(Clock())
    counted(FileFailed("p", path, "content_missing", "gone"))
    woken = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        woken.set()
        await asyncio.Event().wait()

    async with log, reporting(log, lambda: counted.status(Work()), sleep=sleep):
        await woken.wait()
        (member,) = await read_fleet(log)
        (error,) = member.status.last_errors
        assert error.message.isprintable()


async def test_nothing_ends_the_telling(log: EmbeddedLog) -> None:
    counted, told = tally(Clock()), list[int]()
    woken = asyncio.Event()

    def collect() -> AgentStatus:
        told.append(len(told))
        if len(told) == 2:  # the first one is asked for the key
            raise ZeroDivisionError
        return counted.status(Work())

    async def sleep(_seconds: float) -> None:
        if len(told) == 3:
            woken.set()
            await asyncio.Event().wait()

    async with log, reporting(log, collect, sleep=sleep):
        await woken.wait()
        assert len(await read_fleet(log)) == 1


def test_what_is_abandoned_is_counted_down_again() -> None:
    counted = tally(Clock())
    counted(BatchReceived("t", 0, 0, "p", 4))
    counted(BatchAbandoned("t", 0, 0))
    assert counted.files_in_flight == 0


def test_backends_that_work_again_are_forgotten() -> None:
    counted = tally(Clock())
    for number in range(500):
        counted(BreakerChanged("consumer", "git_reference", f"host-{number}", "open", 5))
    assert len(counted.status(Work()).circuits) == 100
    counted(BreakerChanged("consumer", "git_reference", "host-499", "closed", 0))
    assert "git_reference host-499" not in counted.status(Work()).circuits


async def test_what_is_no_status_is_passed_over(log: EmbeddedLog) -> None:
    async with log:
        good = tally(Clock()).status(Work()).model_dump_json().encode()
        await log.publish(
            AGENT_STATUS,
            [OutgoingMessage(b"bad", b"\xff{"), OutgoingMessage(b"old", b"{}"), OutgoingMessage(b"a", good)],
        )
        assert [member.status.id for member in await read_fleet(log)] == ["agent-1"]


def test_circuits_are_told_as_they_stand() -> None:
    counted = tally(Clock())
    counted(BreakerChanged("consumer", "object_storage", "shop-content", "open", 5))
    counted(BreakerChanged("consumer", "git_reference", "", "open", 5))
    counted(BreakerChanged("consumer", "git_reference", "", "half_open", 5))
    assert counted.status(Work(frozenset(), 0, 0, 0.0, None)).circuits == {
        "object_storage shop-content": "open",
        "git_reference": "half-open",
    }


def test_an_agent_that_leaves_a_backend_alone_is_degraded() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    circuits = {"git_reference host": "closed", "object_storage minio b": "half_open"}
    status = AgentStatus(
        id="a", version="1", host="h", pid=7, group="g", interval_s=5.0, started_at=at, at=at,
        circuits=circuits,
    )  # fmt: skip
    member = Member(status, 1.0)
    assert member.left_alone == ["object_storage minio b"]
    assert state(member) == "! degraded"
    assert state(Member(status, 60.0)) == "! stale"
    assert state(Member(status.model_copy(update={"circuits": {}}), 1.0)) == "✓ working"
