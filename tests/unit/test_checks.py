"""The health checks against what they look at."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from core.cache.counters import CacheStats
from core.checks import (
    Disk,
    caches_check,
    consumer_checks,
    disk_check,
    disk_of,
    git_check,
    log_check,
    pool_check,
    storage_check,
)
from core.errors import AccessDenied, AnalysisFailed
from core.events.topics import REQUESTED_V2
from core.events.v2 import ObjectStorageConfig
from core.intelligence.base import FileToAnalyze
from core.log.base import OutgoingMessage
from core.log.embedded import EmbeddedLog
from core.settings.git import GitSettings
from core.telemetry.health import Check, HealthMonitor, Result, State


async def outcome(check: Check) -> Result:
    return (await HealthMonitor([check]).report()).results[0]


async def test_a_log_without_the_request_topics(tmp_path: Path) -> None:
    async with EmbeddedLog(tmp_path / "log.sqlite", partitions=1) as log:
        strict = log_check(lambda: nullcontext(log), [REQUESTED_V2], makes_topics=False)
        result = await outcome(strict)
        assert (result.state, result.hint) == (State.DEGRADED, "archon-agent topics setup")
        lenient = log_check(lambda: nullcontext(log), [REQUESTED_V2], makes_topics=True)
        assert (await outcome(lenient)).state is State.OK
        await log.publish(REQUESTED_V2, [OutgoingMessage(None, b"{}")])
        assert (await outcome(strict)).state is State.OK


async def test_a_disk_with_room(tmp_path: Path) -> None:
    result = await outcome(disk_check("data disk", tmp_path / "made", 0.0, required=True))
    assert result.state is State.OK
    assert "free" in (result.detail or "")
    assert list((tmp_path / "made").iterdir()) == []


async def test_a_disk_that_is_nearly_full_is_degraded(tmp_path: Path) -> None:
    result = await outcome(disk_check("data disk", tmp_path, 1.0, required=True))
    assert result.state is State.DEGRADED
    assert "ARCHON_HOME" in (result.hint or "")


async def test_a_directory_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = await outcome(disk_check("data disk", tmp_path / "file" / "below", 0.0, required=True))
    assert result.state is State.FAILED
    assert "cannot be written" in (result.error or "")


def test_the_disk_of_a_directory_that_is_not_made_yet(tmp_path: Path) -> None:
    disk = disk_of(tmp_path / "a" / "b")
    assert isinstance(disk, Disk)
    assert 0 < disk.free <= disk.size


class FakeAnalyzer:
    def __init__(self, failure: AnalysisFailed | None = None) -> None:
        self.asked = 0
        self.failure = failure

    async def analyze_many(self, files: Sequence[FileToAnalyze]) -> list[AnalysisFailed]:
        self.asked += len(files)
        return [self.failure or AnalysisFailed("the analyzer crashed (SIGSEGV)")]


async def test_a_pool_that_crashes_fails() -> None:
    result = await outcome(pool_check(FakeAnalyzer()))
    assert (result.state, result.error) == (State.FAILED, "the analyzer crashed (SIGSEGV)")


async def test_a_busy_pool_is_not_disturbed() -> None:
    analyzer = FakeAnalyzer()
    result = await outcome(pool_check(analyzer, busy=lambda: True))
    assert (result.state, analyzer.asked) == (State.OK, 0)


class RefusingStorage:
    location = ObjectStorageConfig(provider="s3", bucket="contents")

    async def check(self) -> None:
        raise AccessDenied("the bucket refuses us", hint="look at the role")


async def test_storage_that_refuses_only_degrades() -> None:
    result = await outcome(storage_check(RefusingStorage()))
    assert (result.state, result.hint) == (State.DEGRADED, "look at the role")


async def test_git_hosts_are_connected_to() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    async with server:
        assert (await outcome(git_check([("127.0.0.1", port)]))).state is State.OK
    refused = await outcome(git_check([("127.0.0.1", port)]))
    assert refused.state is State.DEGRADED
    assert f"127.0.0.1:{port}" in (refused.error or "")


class Loop:
    has_joined = True
    blocked: str | None = None

    def assignment(self) -> list[int]:
        return [1, 2]


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("group", {"has_joined": False}, "has not joined its group yet"),
        ("commit", {"blocked": "dead letter: refused"}, "dead letter: refused"),
    ],
)
async def test_the_consumers_own_checks(name: str, change: dict[str, object], error: str) -> None:
    loop = Loop()
    assert (await HealthMonitor(consumer_checks(loop)).report()).ready
    for attribute, value in change.items():
        setattr(loop, attribute, value)
    report = await HealthMonitor(consumer_checks(loop)).report()
    assert not report.ready
    assert {result.name: result.error for result in report.results if result.error} == {name: error}


async def test_a_cache_that_keeps_nothing_degrades() -> None:
    stats = CacheStats("/c", 10 << 30, 3, 5 << 30, 0, 9, {"absent": 1}, {}, 0, 0, 0, 0)
    trouble: list[str] = []
    check = caches_check(lambda: {"object": stats}, lambda: next(iter(trouble), None))
    result = await outcome(check)
    assert (result.state, result.detail) == (State.OK, "object 5.0 GB of 10.0 GB, 90% hits")
    trouble.append("the cache's disk refuses: No space left on device")
    result = await outcome(check)
    assert result.state is State.DEGRADED
    assert "the cache's disk refuses" in (result.detail or "")


@pytest.mark.parametrize(
    ("given", "addresses"),
    [
        ({}, []),
        ({"allowed_hosts": "a.example,b.example:8443"}, [("a.example", 443), ("b.example", 8443)]),
        ({"allowed_hosts": "[::1]:22", "schemes": "ssh"}, [("::1", 22)]),
        ({"allowed_hosts": "a.example", "schemes": "ssh"}, [("a.example", 22)]),
        ({"credentials": {"c.example": {"refs": "env:TOKEN"}}}, [("c.example", 443)]),
    ],
)
def test_the_git_hosts_that_settings_name(given: dict[str, Any], addresses: list[tuple[str, int]]) -> None:
    assert GitSettings(**given).known_addresses() == addresses
