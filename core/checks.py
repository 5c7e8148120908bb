"""The health checks: what an agent or a publisher depends on, and how each is looked at."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from core import units
from core.errors import AnalysisFailed, BackendUnavailable
from core.events.record import Analysis
from core.events.v2 import ObjectStorageConfig
from core.intelligence.base import FileToAnalyze
from core.intelligence.pool import MEMORY_LIMIT
from core.log.base import EventLog
from core.machine import can_limit_memory
from core.safety.private import make_private
from core.settings import Settings
from core.telemetry.health import Check, Finding, State

OpenLog = Callable[[], AbstractAsyncContextManager[EventLog]]

UNLIMITED = "; this system cannot limit the memory of a process, so large ones are replaced between files"
HOME_HINT = "free some space, or move it: ARCHON_HOME=DIR"
_SAMPLE = FileToAnalyze("health.py", b"def sample(x):\n    return x\n", "python")


class Analyzer(Protocol):
    """Makes analyses."""

    async def analyze_many(self, files: Sequence[FileToAnalyze]) -> Sequence[Analysis | AnalysisFailed]: ...


class Disk(NamedTuple):
    """The disk under a directory, in bytes."""

    free: int
    size: int


def disk_of(directory: Path) -> Disk:
    """The disk that `directory` is on, or will be on when it is made. Raises `BackendUnavailable`."""
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    try:
        usage = shutil.disk_usage(existing)
    except OSError as error:
        raise BackendUnavailable(f"{existing} cannot be looked at: {error.strerror}") from None
    return Disk(usage.free, usage.total)


def cache_directories(settings: Settings) -> dict[str, Path]:
    """The directories of caches by name; one below the common `cache` directory is left out."""
    common = settings.cache_dir
    own = {"content cache": settings.content_cache_dir, "clone cache": settings.clone_cache_dir}
    return {"cache": common} | {
        name: directory for name, directory in own.items() if not directory.is_relative_to(common)
    }


def log_check(opened: OpenLog, topics: Sequence[str], *, makes_topics: bool) -> Check:
    """The log answers, and has the request topics; where it `makes_topics` itself they may be missing."""

    async def probe() -> Finding:
        async with opened() as log:
            known = set(await log.topics())
        missing = [topic for topic in topics if topic not in known]
        if missing and not makes_topics:
            return Finding(
                f"reachable, but without {', '.join(missing)}",
                State.DEGRADED,
                "archon-agent topics setup",
            )
        return Finding(f"{len(known)} topics")

    return Check("log", probe)


def disk_check(name: str, directory: Path, min_free: float, *, required: bool) -> Check:
    """`directory` can be written, and at least the share `min_free` of its disk is free."""

    async def probe() -> Finding:
        return await asyncio.to_thread(_look_at_disk, directory, min_free)

    return Check(name, probe, required)


def _look_at_disk(directory: Path, min_free: float) -> Finding:
    try:
        make_private(directory)
        with tempfile.TemporaryFile(dir=directory, prefix=".check-") as file:
            file.write(b"\0" * 4096)
            os.fsync(file.fileno())
    except OSError as error:
        raise BackendUnavailable(f"{directory} cannot be written: {error.strerror}", hint=HOME_HINT) from None
    disk = disk_of(directory)
    share = disk.free / disk.size if disk.size else 0.0
    text = f"{share:.0%} of {units.size(disk.size)} free"
    if share < min_free:
        return Finding(text, State.DEGRADED, HOME_HINT)
    return Finding(text)


def pool_check(analyzer: Analyzer, busy: Callable[[], bool] = lambda: False) -> Check:
    """The analysis processes answer; while they are at work they are not disturbed."""

    async def probe() -> Finding:
        if busy():
            return Finding("at work")
        (answer,) = await analyzer.analyze_many([_SAMPLE])
        if isinstance(answer, AnalysisFailed):
            raise answer
        limited = await asyncio.to_thread(can_limit_memory, MEMORY_LIMIT)
        return Finding("a sample file was analysed" + ("" if limited else UNLIMITED))

    return Check("process pool", probe)


class Storage(Protocol):
    """Object storage, as far as it is looked at."""

    @property
    def location(self) -> ObjectStorageConfig: ...
    async def check(self) -> None: ...


def storage_check(storage: Storage) -> Check:
    """Object storage can be used as configured. Inline and Git content come without it."""

    async def probe() -> Finding:
        await storage.check()
        where = storage.location
        return Finding(f"{where.provider} bucket {where.bucket}")

    return Check("object storage", probe, required=False)


def git_check(hosts: Sequence[tuple[str, int]], deadline_s: float = 3.0) -> Check:
    """The Git hosts that are configured accept connections; `hosts` are names and ports."""

    async def probe() -> Finding:
        if not hosts:
            return Finding("no host is configured; events name them")
        outcomes = await asyncio.gather(*(_connect(host, port, deadline_s) for host, port in hosts))
        problems = [outcome for outcome in outcomes if outcome]
        if problems:
            raise BackendUnavailable("; ".join(problems), hint="see git.allowed_hosts and the network")
        return Finding(f"{len(hosts)} hosts accept connections")

    return Check("git hosts", probe, required=False)


async def _connect(host: str, port: int, deadline_s: float) -> str | None:
    """Why no connection can be made, or None."""
    try:
        async with asyncio.timeout(deadline_s):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"{host}:{port} does not answer within {deadline_s:g} s"
    except OSError as error:
        return f"{host}:{port}: {error.strerror or error}"
    writer.close()
    return None


def breaker_check(tripped: Callable[[], Sequence[object]]) -> Check:
    """No circuit breaker is open; `tripped` are those that are not closed."""

    async def probe() -> Finding:
        if names := [str(each) for each in tripped()]:
            return Finding(f"left alone for now: {', '.join(names)}", State.DEGRADED, "it is tried by itself")
        return Finding("every backend is asked")

    return Check("circuit breakers", probe, required=False)


class CacheFigures(Protocol):
    """What a cache holds, and how often it was of use."""

    @property
    def bytes(self) -> int: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def hit_rate(self) -> float | None: ...


def caches_check(
    read: Callable[[], Mapping[str, CacheFigures]], trouble: Callable[[], str | None] = lambda: None
) -> Check:
    """Caches, read by type, keep what is fetched; `trouble` says why the object cache does not at present."""

    async def probe() -> Finding:
        if why := trouble():
            return Finding(f"contents are served without being kept: {why}", State.DEGRADED, HOME_HINT)
        figures = await asyncio.to_thread(read)
        return Finding("; ".join(_told(name, each) for name, each in figures.items()) or "none is open")

    return Check("caches", probe, required=False)


def _told(name: str, figures: CacheFigures) -> str:
    rate = "" if figures.hit_rate is None else f", {figures.hit_rate:.0%} hits"
    return f"{name} {units.size(figures.bytes)} of {units.size(figures.max_bytes)}{rate}"


class Loop(Protocol):
    """The consumer's loop, as it says itself."""

    @property
    def has_joined(self) -> bool: ...
    @property
    def blocked(self) -> str | None: ...
    def assignment(self) -> Collection[object]: ...


def consumer_checks(loop: Loop) -> list[Check]:
    """The consumer is in its group, and what it finishes can be committed."""

    async def joined() -> Finding:
        if not loop.has_joined:
            raise BackendUnavailable("has not joined its group yet", hint="wait; else look at the log check")
        partitions = len(loop.assignment())
        return Finding(
            f"{partitions} partitions" if partitions else "in the group, no partition is left over"
        )

    async def committing() -> Finding:
        if loop.blocked:
            raise BackendUnavailable(loop.blocked, hint="nothing is lost; it goes on once this works again")
        return Finding("nothing keeps offsets from being committed")

    return [Check("group", joined, cheap=True), Check("commit", committing, cheap=True)]


def dependency_checks(settings: Settings, log: OpenLog, pool: Check, storage: Storage | None) -> list[Check]:
    """What these settings make everything depend on, before anything is started."""
    health = settings.health
    makes_topics = not settings.kafka.servers or settings.kafka.create_topics
    return [
        log_check(log, settings.log.topics, makes_topics=makes_topics),
        disk_check("data disk", settings.data_dir, health.min_free, required=True),
        *(
            disk_check(f"{name} disk", directory, health.min_free, required=False)
            for name, directory in cache_directories(settings).items()
        ),
        pool,
        *([storage_check(storage)] if storage else []),
        git_check(settings.git.known_addresses()),
    ]
