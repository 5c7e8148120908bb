"""Files of every size, from ingest to records: each byte arrives, equal content is uploaded once."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from core.assembly.consuming import consuming
from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.assembly.stores import open_caches, open_index, open_log
from core.events.codec import decode_request
from core.events.request import Carrier
from core.events.topics import REQUESTED_V2
from core.progress import FileResolved, RunEvent
from core.settings import Settings, load
from core.summary import IngestSummary
from tests.repositories import commit
from tests.servers.fault_proxy import FaultProxy, Status
from tests.servers.fault_proxy import fault_proxy as running_proxy
from tests.servers.s3 import S3Server
from tests.servers.seaweedfs import GROUP

KB = 1024
INLINE = 100 * KB

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group(GROUP)]


def text(size: int) -> bytes:
    """Source code of exactly `size` bytes, with characters of two and three bytes."""
    line = "def größe(x):  # ☃\n    return x\n".encode()
    return (line * (size // len(line) + 1))[: size - 1] + b"\n" if size else b""


def mixed() -> dict[str, bytes]:
    copy = os.urandom(INLINE + 7)
    return {
        "empty.py": b"",
        "limit.py": text(INLINE),
        "limit.bin": os.urandom(INLINE),
        "over.py": text(INLINE + 1),
        "over.bin": os.urandom(INLINE + 1),
        "five.csv": text(5 << 20),
        "five.bin": os.urandom(5 << 20),
        "sixty.txt": text(60 << 20),
        "sixty.bin": os.urandom(60 << 20),
        **{f"copies/{number}.dat": copy for number in range(20)},
    }


def settings(home: Path, **values: Any) -> Settings:
    return load({"home": home, "agent.workers": 1, **values}, environ={}).settings


def in_bucket(
    server: S3Server, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, **values: Any
) -> dict[str, Any]:
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)
    bucket = f"mixed-{uuid.uuid4().hex[:12]}"
    server.client().create_bucket(Bucket=bucket)
    return {
        "storage.provider": "s3",
        "storage.bucket": bucket,
        "storage.region": "us-east-1",
        "storage.endpoint": proxy.endpoint,
        "storage.allow_http": True,
        **values,
    }


async def ingest(configured: Settings, path: Path, **options: Any) -> IngestSummary:
    async with ingestion(configured, Target(path, project_name="mixed", **options)) as job:
        return await job.publisher.publish(job.planner.stream())


async def verify(configured: Settings, files: dict[str, bytes]) -> list[RunEvent]:
    """Consume everything; every file has a record of exactly its bytes."""
    events: list[RunEvent] = []
    async with consuming(configured, listener=events.append, service=False) as agent:
        summary = await agent.run(drain=True, stop=asyncio.Event())
    assert (summary.files_processed, summary.files_failed) == (len(files), 0)
    async with open_index(configured) as index:
        found = {record.file.path: record.file async for record in index.records()}
    assert found.keys() == files.keys()
    for path, content in files.items():
        assert found[path].checksum == f"sha256:{hashlib.sha256(content).hexdigest()}", path
        assert (found[path].size_bytes, found[path].checksum_verified) == (len(content), True)
    return events


async def carriers(configured: Settings) -> dict[str, Carrier]:
    async with open_log(configured) as log, aclosing(log.browse(REQUESTED_V2)) as messages:  # type: ignore[type-var]
        requests = [decode_request(message.value) async for message in messages]
    return {file.relative_path: file.carrier for request in requests for file in request.files}


def check_carriers(found: dict[str, Carrier]) -> None:
    inline = {path for path, carrier in found.items() if carrier is Carrier.INLINE}
    assert inline == {"empty.py", "limit.py", "limit.bin"}
    assert {found[path] for path in found.keys() - inline} == {Carrier.OBJECT_STORAGE}


async def test_through_a_bucket_by_link(
    seaweedfs: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = mixed()
    repository = commit(tmp_path / "mixed", files)
    async with running_proxy(seaweedfs.port) as proxy:
        configured = settings(tmp_path / "home", **in_bucket(seaweedfs, proxy, monkeypatch))
        summary = await ingest(configured, repository)
        assert (summary.files_published, summary.skipped) == (len(files), [])
        check_carriers(await carriers(configured))
        single = [line for line in proxy.requests if line.startswith("PUT") and "partNumber" not in line]
        assert len(single) == 2 + 2 + 1  # over.*, five.*, and twenty copies as one
        assert sum("uploads" in line for line in proxy.requests if line.startswith("POST")) == 2  # sixty.*

        proxy.requests.clear()
        reader = configured.model_copy(
            update={"storage": configured.storage.model_copy(update={"read_by_key": False})}
        )
        events = await verify(reader, files)
        assert sum(line.startswith("GET") and "/projects/" in line for line in proxy.requests) == 7
        resolved = [event for event in events if isinstance(event, FileResolved)]
        assert len(resolved) == len(files)

        # The second consumption comes from the cache, whole.
        proxy.requests.clear()
        assert (await ingest(configured, repository, force_reindex=True)).files_published == len(files)
        before = cache_figures(configured)
        proxy.requests.clear()
        await verify(reader, files)
        assert not [line for line in proxy.requests if line.startswith("GET") and "/projects/" in line]
        after = cache_figures(configured)
        assert after[0] - before[0] >= 7
        assert after[1] == before[1]


def cache_figures(configured: Settings) -> tuple[int, int]:
    """Hits and misses."""
    caches = open_caches(configured)
    try:
        stats = caches["object"].stats()
        return stats.hits, sum(stats.misses.values())
    finally:
        for cache in caches.values():
            cache.close()


async def test_with_no_server_at_all(tmp_path: Path) -> None:
    files = mixed()
    repository = commit(tmp_path / "mixed", files)
    configured = settings(tmp_path / "home")
    summary = await ingest(configured, repository)
    assert (summary.files_published, summary.skipped) == (len(files), [])
    check_carriers(await carriers(configured))
    assert len(list(configured.objects_dir.glob("*/projects/*/*"))) == 7
    await verify(configured, files)
    assert not list(configured.content_cache_dir.glob("objects/*/*"))


async def test_storage_that_fails_midway_falls_back_and_is_told(
    seaweedfs: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files = {
        **{f"small{number}.py": text(100 + number) for number in range(3)},
        "large.bin": os.urandom(INLINE + 1),
    }
    repository = commit(tmp_path / "mixed", files)
    async with running_proxy(seaweedfs.port, None, *[Status(403)] * 100) as proxy:
        values = in_bucket(seaweedfs, proxy, monkeypatch)
        chosen = {"publish.content_strategy": "object_storage"}
        configured = settings(tmp_path / "home", **values, **chosen)
        summary = await ingest(configured, repository)
        assert summary.files_published == 3
        (skip,) = summary.skipped
        assert (skip.path, skip.reason.is_fault) == ("large.bin", True)
        assert "403" in skip.detail
        assert summary.fallbacks == {
            "object_storage -> inline: access_denied": 3,
            "object_storage -> skip: access_denied": 1,
        }
        told = [record.message for record in caplog.records if "fallback" in record.message]
        assert len(told) == 2
        assert set((await carriers(configured)).values()) == {Carrier.INLINE}
    del files["large.bin"]
    await verify(configured, files)
