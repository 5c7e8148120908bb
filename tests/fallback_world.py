"""A place to inject the faults of `core.fallbacks`: a work tree, its real Git host, real object storage
behind a proxy, a log; and what publishing and consuming there show of the fallbacks they made.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from prometheus_client import generate_latest

from core.assembly.consuming import consuming
from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.assembly.stores import open_log
from core.consumer import RunSummary
from core.events.topics import REQUESTED_V2
from core.fallbacks import StandIns, fallback
from core.log.base import LogMessage, OutgoingMessage
from core.progress import FallbackUsed, FilesScanned, RunEvent, tell_all
from core.settings import Settings, load
from core.summary import IngestSummary
from tests.bare_repositories import BareRepository
from tests.integration.test_git_reference import Workplace
from tests.repositories import git, write
from tests.servers.fault_proxy import FaultProxy, fault_proxy
from tests.servers.git_http import GitHttpServer
from tests.servers.s3 import S3Server

NONE: Mapping[str, Any] = {}
T = TypeVar("T", bound=Callable[..., Any])

SMALL = b"x = 1\n"
LARGE = b"".join(b"line %d\n" % number for number in range(20_000))
# Small text, bytes whose base64 is large, and what is over the inline limit; Git has those of `PUSHED`.
MIDDLE = random.Random(1).randbytes(60_000)
PUSHED = {"small.py": SMALL, "middle.bin": MIDDLE, "large.txt": LARGE}
MANY = {f"many/{number:02}.py": b"z = %d\n" % number for number in range(24)}
LOCAL = {"local.py": b"y = 2\n", "local.bin": MIDDLE[::-1], "local.txt": LARGE[::-1]}

_COUNTED = re.compile(
    r'^archon_fallbacks_total\{cause="(?P<cause>\w+)",side="\w+",used="(?P<used>\w+)",'
    r'wanted="(?P<wanted>\w+)"\} (?P<files>\S+)$',
    re.MULTILINE,
)


@dataclass(slots=True)
class Seen:
    """What one run showed: its summary, its events, its metrics as Prometheus reads them, its log lines."""

    fallbacks: Mapping[str, int]
    events: Sequence[RunEvent]
    metrics: str
    logged: str

    def agree(self) -> None:
        """Summary, events and counters tell the same fallbacks, and each kind is logged."""
        told = Counter(
            fallback(event.wanted, event.used, event.cause)
            for event in self.events
            if isinstance(event, FallbackUsed)
        )
        counted = {
            fallback(found["wanted"], found["used"], found["cause"]): float(found["files"])
            for found in _COUNTED.finditer(self.metrics)
        }
        assert self.fallbacks == told == counted
        for name in self.fallbacks:
            assert f"fallback {name}" in self.logged


@dataclass(slots=True)
class Published(Seen):
    """A publisher's run."""

    summary: IngestSummary = field(default_factory=lambda: IngestSummary(""))


@dataclass(slots=True)
class Consumed(Seen):
    """An agent's run, and the dead letters there are after it."""

    summary: RunSummary = field(default_factory=RunSummary)
    letters: Sequence[LogMessage] = ()


@dataclass(slots=True)
class World:
    """Everything is reachable and well until a test says otherwise."""

    home: Path
    root: Path
    git: GitHttpServer
    storage: FaultProxy
    server: S3Server
    bucket: str
    caplog: pytest.LogCaptureFixture
    flags: dict[str, Any] = field(default_factory=dict)

    def settings(self, **flags: Any) -> Settings:
        given = {
            "home": self.home,
            "storage.provider": "minio",
            "storage.bucket": self.bucket,
            "storage.endpoint": self.storage.endpoint,
            "storage.allow_http": True,
            "cache.max_size_gb": 0,
            "git.schemes": "http",
            "git.networks": "127.0.0.0/8",
            "agent.attempts": 1,
            "agent.workers": 1,
            "agent.local_roots": str(self.home.parent),
            "log.partitions": 1,
            "breaker.pause": "60s",
            "telemetry.textfile": self.home / "metrics.prom",
        }
        return load({**given, **self.flags, **flags}, environ={}).settings

    async def publish(
        self,
        strategy: str,
        flags: Mapping[str, Any] = NONE,
        *,
        once_started: Callable[[], object] = lambda: None,
    ) -> Published:
        """Publish the work tree by `strategy`; `once_started` is called when the first files are read."""
        events: list[RunEvent] = []

        def listen(event: RunEvent) -> None:
            if isinstance(event, FilesScanned):
                once_started()

        configured = self.settings(**{"publish.content_strategy": strategy, **flags})
        target = Target(self.root, project_name="shop", force_reindex=True)
        self.caplog.clear()
        async with ingestion(configured, target, listener=tell_all(listen, events.append)) as job:
            summary = await job.publisher.publish(job.planner.stream())
        metrics = (self.home / "metrics.prom").read_text()
        seen = Published(summary.fallbacks, events, metrics, self.caplog.text, summary)
        seen.agree()
        return seen

    async def consume(self, **flags: Any) -> Consumed:
        """Work off what waits in the log."""
        events: list[RunEvent] = []
        configured = self.settings(**flags)
        self.caplog.clear()
        async with consuming(configured, listener=events.append, service=False) as agent:
            summary = await agent.run(drain=True, stop=asyncio.Event())
            metrics = generate_latest(agent.metrics.registry).decode()
        async with open_log(configured) as log:
            letters = [message async for message in log.browse(f"{REQUESTED_V2}.dlq")]
        seen = Consumed(summary.fallbacks, events, metrics, self.caplog.text, summary, letters)
        seen.agree()
        return seen

    async def change_event(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Publish the newest request again, changed; what was published before is worked off."""
        async with open_log(self.settings()) as log:
            newest = [message async for message in log.browse(REQUESTED_V2, newest_first=True, limit=1)]
            event = json.loads(newest[0].value or b"")
            change(event)
            await log.publish(REQUESTED_V2, [OutgoingMessage(b"key", json.dumps(event).encode())])


@asynccontextmanager
async def world(
    tmp_path: Path,
    server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    more: Mapping[str, bytes],
) -> AsyncIterator[World]:
    """A work tree of `PUSHED` with `more` and, committed after the last push, `LOCAL`."""
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)
    bucket = f"fallbacks-{uuid.uuid4().hex[:12]}"
    server.client().create_bucket(Bucket=bucket)
    (tmp_path / "served").mkdir()
    BareRepository(tmp_path / "served" / "shop.git").commit(PUSHED | dict(more))
    with GitHttpServer(tmp_path / "served") as host:
        place = Workplace(tmp_path / "work", host.url("shop.git"))
        add(place.path, LOCAL)
        place.settle()
        async with fault_proxy(server.port) as proxy:
            yield World(tmp_path / "home", place.path, host, proxy, server, bucket, caplog)


def add(root: Path, files: Mapping[str, bytes]) -> None:
    """Commit files without pushing them."""
    write(root, files)
    git(root, "add", "-A")
    git(root, "commit", "-qm", "not pushed")


class Matrix:
    """Which faults of one side a module's tests inject, against those of the table."""

    def __init__(self, table: Mapping[Any, StandIns[Any]]) -> None:
        self._table = table
        self._injected: list[tuple[str, str]] = []

    def injects(self, name: str, fault: str) -> Callable[[T], T]:
        """Marks the test of a row."""

        def mark(test: T) -> T:
            self._injected.append((name, fault))
            return test

        return mark

    def is_whole(self) -> None:
        """Every row of the table has its test, and every test its row."""
        rows = [(str(name), fault.text) for name, row in self._table.items() for fault in row.faults]
        assert sorted(rows) == sorted(self._injected)

    def proves(self, name: str, fault: str, *runs: Seen) -> None:
        """Together the runs used every stand-in of the row, for its causes and for no other."""
        row = self._table[name]
        (expected,) = [each for each in row.faults if each.text == fault]
        names = [each for run in runs for each in run.fallbacks if each.startswith(f"{name} -> ")]
        used = {each.partition(" -> ")[2].partition(": ")[0] for each in names}
        assert used - {"skip"} == set(row.order)
        assert {each.partition(": ")[2] for each in names} == set(expected.causes)
