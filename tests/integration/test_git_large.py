"""Repositories of a size that shows what is not bounded: 20,000 files, and more than 1 GB."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.assembly.consuming import consuming
from core.assembly.publishing import ingestion
from core.assembly.source import RemoteTarget, Target
from core.assembly.stores import open_index
from core.errors import ContentTooLarge
from core.git.errors import CloneTooLarge
from core.git.source import GitSource, Wanted
from core.git.transfer import TransferLimits
from core.settings import load
from tests.bare_repositories import BareRepository
from tests.git_fetching import fetching, nothing_is_left
from tests.servers.git_http import UPLOAD_PACK, Fault, GitHttpServer
from tests.subprocesses import child_process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

FILES = 20_000
MIB = 1 << 20
LARGE = 1100
MEMORY_LIMIT = 200 * MIB


async def test_every_one_of_20_000_files_is_accounted_for(tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    repository = BareRepository(served / "many.git")
    repository.commit((f"d{n // 500:02}/f{n:05}.py", b"V = %d\n" % n) for n in range(FILES))
    given = {"home": tmp_path / "home", "git.schemes": "http", "git.networks": "127.0.0.0/8"}
    configured = load(given, environ={"CONTENT_STORAGE_PROVIDER": "none"}).settings
    with GitHttpServer(served) as server:
        async with ingestion(configured, Target(RemoteTarget(server.url("many.git")))) as job:
            summary = await job.publisher.publish(job.planner.stream())
        assert (summary.files_published, len(summary.skipped), summary.faults) == (FILES, 0, [])
        async with consuming(configured, service=False) as agent:
            run = await agent.run(drain=True, stop=asyncio.Event())
    assert (run.files_processed, run.files_failed, run.files_skipped) == (FILES, 0, 0)
    async with open_index(configured) as index:
        found = {record.file.path async for record in index.records()}
    assert found == repository.blobs().keys()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> BareRepository:
    """Over 1 GB of files of 1 MiB that do not compress."""
    path = tmp_path_factory.mktemp("large") / "large.git"
    repository = BareRepository(path)
    repository.commit_incompressible(LARGE, MIB)
    return repository


@pytest.fixture
def server(large: BareRepository) -> Iterator[GitHttpServer]:
    with GitHttpServer(large.path.parent) as running:
        yield running


def some(large: BareRepository, count: int) -> list[Wanted]:
    return [Wanted(path, blob) for path, blob in list(large.blobs().items())[:count]]


def source(large: BareRepository, server: GitHttpServer) -> GitSource:
    return GitSource(server.url("large.git"), large.git("rev-parse", "main"))


def disk_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


async def test_a_part_of_more_than_1_gb_costs_that_part(
    tmp_path: Path, large: BareRepository, server: GitHttpServer
) -> None:
    wanted = tmp_path / "wanted.json"
    wanted.write_text(json.dumps([(item.path, item.blob) for item in some(large, 200)]))
    where = source(large, server)
    arguments = [where.url, where.commit, str(wanted), str(tmp_path / "cache")]
    command = (sys.executable, "-m", "tests.fetch_child", *arguments)
    async with child_process(*command, stdout=asyncio.subprocess.PIPE) as child:
        output, _ = await child.communicate()
    report = json.loads(output)
    assert report["files"] == 200
    assert report["peak"] < MEMORY_LIMIT
    assert 200 * MIB < server.bytes_sent < 210 * MIB
    assert disk_bytes(tmp_path / "cache" / "clones") < 210 * MIB


async def test_cancelled_in_the_middle_nothing_is_left(
    tmp_path: Path, large: BareRepository, server: GitHttpServer
) -> None:
    fault = Fault("hang", UPLOAD_PACK, after=100 * MIB)
    server.faults.append(fault)
    async with fetching(tmp_path, limits=TransferLimits(100, 100, 2 << 30), cap=4 << 30) as of:
        running = asyncio.ensure_future(of.fetcher.fetch_many(source(large, server), some(large, 600)))
        assert await asyncio.to_thread(fault.hanging.wait, 60)
        assert of.cache.stats().reserved_bytes > 64 * MIB
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    async with fetching(tmp_path) as of:
        assert nothing_is_left(of, tmp_path)


async def test_no_more_comes_than_may(tmp_path: Path, large: BareRepository, server: GitHttpServer) -> None:
    async with fetching(tmp_path, limits=TransferLimits(60, 60, MIB // 2)) as of:
        answers = await of.fetcher.fetch_many(source(large, server), some(large, 3))
        assert [type(answer) for answer in answers] == [ContentTooLarge] * 3
        assert server.bytes_sent < 64 * MIB, "what the sockets hold, of five exchanges"
        assert nothing_is_left(of, tmp_path)


async def test_more_than_the_cache_takes_is_refused_before_the_disk_is_full(
    tmp_path: Path, large: BareRepository, server: GitHttpServer
) -> None:
    async with fetching(tmp_path, limits=TransferLimits(60, 60, 2 << 30), cap=64 * MIB) as of:
        answers = await of.fetcher.fetch_many(source(large, server), some(large, 200))
        assert {type(answer) for answer in answers} == {CloneTooLarge}
        assert nothing_is_left(of, tmp_path)
