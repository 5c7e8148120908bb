"""`watch` killed mid-round: the state tells only what the log acknowledged, and the next round goes on."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from core.assembly.stores import open_log
from core.events.topics import REQUESTED_V2
from core.settings import Settings
from core.watching.model import Outcome, Work
from tests.bare_repositories import BareRepository, Content
from tests.servers.git_http import Fault, GitHttpServer
from tests.watching import delta, one, published, settings, watched

ROOT = Path(__file__).parents[2]
FILES: dict[str, Content] = {f"m{number}.py": b"x = %d\n" % number for number in range(3000)}
CHANGES: dict[str, Content] = {
    **{f"m{number}.py": b"x = 'new %d'\n" % number for number in range(2000)},
    **{f"m{number}.py": None for number in range(2990, 3000)},
}
SMALL = {"publish.batch_size": "10"}


@pytest.fixture
def repository(tmp_path: Path) -> BareRepository:
    (tmp_path / "served").mkdir()
    return BareRepository(tmp_path / "served" / "shop.git")


@pytest.fixture
def server(tmp_path: Path, repository: BareRepository) -> Iterator[GitHttpServer]:
    with GitHttpServer(tmp_path / "served") as running:
        yield running


@contextmanager
def watcher(home: Path, url: str, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """`archon-agent watch` as a process of its own."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ARCHON_")},
        "PYTHONPATH": str(ROOT),
        "ARCHON_HOME": str(home),
        "ARCHON_GIT_SCHEMES": "http,https",
        "ARCHON_GIT_NETWORKS": "127.0.0.0/8",
        "ARCHON_BATCH_SIZE": "10",
        "CONTENT_STORAGE_PROVIDER": "none",
    }
    command = [sys.executable, "-m", "archon_agent", "watch", "--git-url", url, "--branch", "main"]
    process = subprocess.Popen(
        [*command, "--no-http", "--json", *flags],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@asynccontextmanager
async def following(configured: Settings) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Gives a wait for so many further events; those that the log has already are passed over."""
    async with open_log(configured) as log:
        consumer = await log.consumer("followers", [REQUESTED_V2], member_id="test")

        async def wait(events: int) -> None:
            async with asyncio.timeout(60):
                while events > 0:
                    events -= len(await consumer.poll(100, 10.0))

        await wait(sum(part.lag for part in await log.lag("followers", [REQUESTED_V2])))
        try:
            yield wait
        finally:
            await consumer.close()


async def test_nothing_is_lost_and_little_repeated(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    first = repository.commit(FILES)
    configured = settings(tmp_path / "home", **SMALL)
    shop = watched(configured, server.url("shop.git"))
    await one(configured, shop)
    before = len(await published(configured))
    second = repository.commit(CHANGES)
    async with following(configured) as events:
        with watcher(tmp_path / "home", shop.url) as process:
            await events(3)
            process.kill()
            process.wait()
    killed = (await published(configured))[before:]
    assert 0 < len(delta(killed)[0]) < 2000, "killed too soon or too late to prove anything"
    done = await one(configured, shop)
    assert (done.outcome, done.work) == (Outcome.INGESTED, Work.DELTA)
    assert (done.commit, done.previous) == (second, first)
    after = (await published(configured))[before:]
    assert delta(after) == (
        {f"m{number}.py" for number in range(2000)},
        {f"m{number}.py" for number in range(2990, 3000)},
    )
    repeated = sum(len(request.files) for request in after) - 2000
    assert 0 <= repeated <= 10 * 4, "at most the batches in flight"
    assert (await one(configured, shop)).outcome is Outcome.UNCHANGED


async def test_a_kill_while_fetching_leaves_nothing_behind(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    commit = repository.commit(FILES)
    configured = settings(tmp_path / "home")
    shop = watched(configured, server.url("shop.git"))
    hang = Fault("hang", on="git-upload-pack")
    server.faults += [Fault("drip", on="git-upload-pack", times=1, pause=0.0), hang]
    with watcher(tmp_path / "home", shop.url) as process:
        assert await asyncio.to_thread(hang.reached.wait, 60)
        process.kill()
        process.wait()
    server.faults.clear()
    assert await published(configured) == []
    done = await one(configured, shop)
    assert (done.outcome, done.work, done.commit) == (Outcome.INGESTED, Work.FULL, commit)


async def test_sigterm_finishes_what_is_in_flight_and_ends_well(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    commit = repository.commit(FILES)
    configured = settings(tmp_path / "home", **SMALL)
    shop = watched(configured, server.url("shop.git"))
    async with following(configured) as events:
        with watcher(tmp_path / "home", shop.url, "--interval", "1s") as process:
            await events(3)
            process.terminate()
            out, err = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 0, err
    (line,) = map(json.loads, out.splitlines())
    assert line["outcome"] == "interrupted"
    sent = sum(len(request.files) for request in await published(configured))
    assert line["ingestion"]["files_published"] == sent < len(FILES)
    done = await one(configured, shop)
    assert (done.outcome, done.commit) == (Outcome.INGESTED, commit)
    requests = await published(configured)
    assert sum(len(request.files) for request in requests) == len(FILES), "nothing twice"
