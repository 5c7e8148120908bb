"""A fault of the agent itself (credentials, clock, disk) dead-letters nothing; it holds back and goes on."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from core.errors import ArchonError, CredentialsRefused
from core.events.request import IndexRequest, RequestedFile
from core.fetchers.base import Fetched
from core.fetchers.inline import InlineFetcher
from core.fetchers.resolver import Resolver
from core.log.embedded import EmbeddedLog
from core.processor import RequestProcessor
from core.results.index import ResultsIndex
from core.results.topic import TopicSink
from core.storage.dialects import explain_to_owner
from core.storage.http import Refused
from tests.faults.order_world import SOURCE, World


class Unwell(InlineFetcher):
    """A fetcher of an agent that is ill until `well` is set."""

    def __init__(self, fault: Callable[[], ArchonError]) -> None:
        self._fault = fault
        self.well = asyncio.Event()
        self.asked = 0

    async def fetch_many(
        self, request: IndexRequest, files: Sequence[RequestedFile]
    ) -> Sequence[Fetched | ArchonError]:
        self.asked += 1
        if self.well.is_set():
            return await super().fetch_many(request, files)
        return [self._fault() for _ in files]


def no_space() -> ArchonError:
    raise OSError(errno.ENOSPC, "No space left on device", "/var/lib/archon/cache")


def refused() -> ArchonError:
    return CredentialsRefused("the store does not accept the credentials", hint="renew them")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    log = EmbeddedLog(tmp_path / "log.sqlite", partitions=1)
    async with log, ResultsIndex(tmp_path / "r.db") as index:
        yield World(log, index)


@pytest.mark.parametrize(
    ("fault", "words"), [(no_space, "/var/lib/archon/cache: No space left"), (refused, "the credentials")]
)
async def test_nothing_is_dead_lettered_and_the_work_goes_on_when_the_agent_is_well(
    world: World, fault: Callable[[], ArchonError], words: str
) -> None:
    fetcher = Unwell(fault)
    waiting = asyncio.Event()

    async def wait(_attempt: int) -> None:
        waiting.set()
        await fetcher.well.wait()

    processor = RequestProcessor(
        world.log,
        Resolver([fetcher]),
        world.analyzer,
        [world.index, TopicSink(world.log, SOURCE)],
        world.letters,
        SOURCE,
        wait=wait,
    )
    await world.publish("a.py")
    (message,) = [message async for message in world.log.browse(world.topic)]
    processing = asyncio.create_task(processor.process(message))
    await waiting.wait()
    assert words in (processor.blocked or "")
    fetcher.well.set()
    outcome = await processing
    assert (outcome.indexed, outcome.failed, outcome.dead_lettered) == (1, 0, 0)
    assert processor.blocked is None
    assert f"{world.topic}.dlq" not in await world.log.topics()
    assert await world.in_index() == world.newest


async def test_a_full_disk_of_the_index_holds_back_and_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failed = world.index.write, [True]

    async def full_at_first(result: object) -> object:
        if failed:
            failed.clear()
            no_space()
        return await write(result)  # type: ignore[arg-type]

    monkeypatch.setattr(world.index, "write", full_at_first)
    processor = RequestProcessor(
        world.log,
        Resolver([InlineFetcher()]),
        world.analyzer,
        [world.index],
        world.letters,
        SOURCE,
        wait=lambda _attempt: asyncio.sleep(0),
    )
    await world.publish("a.py")
    (message,) = [message async for message in world.log.browse(world.topic)]
    assert (await processor.process(message)).indexed == 1


@pytest.mark.parametrize(
    ("code", "unwell"),
    [
        ("ExpiredToken", True),
        ("InvalidAccessKeyId", True),
        ("SignatureDoesNotMatch", True),
        ("RequestTimeTooSkewed", True),
        ("AccessDenied", False),
    ],
)
def test_a_refusal_of_our_credentials_is_told_from_one_of_the_object(code: str, unwell: bool) -> None:
    refused = Refused(403, code, None, {})
    error = explain_to_owner(refused, "bucket", "s3.example", "us-east-1")
    assert isinstance(error, CredentialsRefused) == unwell
