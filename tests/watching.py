"""A watcher over a real Git host on loopback, with the time in the test's hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.assembly.stores import open_log
from core.assembly.watching import watched_repository, watching
from core.events.codec import decode_request
from core.events.request import IndexRequest
from core.events.topics import REQUESTED_V2
from core.settings import Settings, load
from core.settings.watch import WatchedRepository
from core.watching.model import Outcome, Round, Watched
from core.watching.service import WatchService


def settings(home: Path, **flags: Any) -> Settings:
    given = {"git.schemes": "https,http", "git.networks": "127.0.0.0/8", "agent.attempts": 1}
    return load({"home": home, **given, **flags}, environ={"CONTENT_STORAGE_PROVIDER": "none"}).settings


def watched(configured: Settings, url: str, **fields: Any) -> Watched:
    return watched_repository(configured, WatchedRepository(git_url=url, **{"branch": "main", **fields}))


async def once(configured: Settings, *repositories: Watched) -> list[Round]:
    """One round of each, as `watch --once`."""
    async with watching(configured, repositories, service=False) as service:
        return await service.watcher.once(asyncio.Event())


async def one(configured: Settings, repository: Watched) -> Round:
    (done,) = await once(configured, repository)
    return done


async def published(configured: Settings) -> list[IndexRequest]:
    async with open_log(configured) as log:
        return [decode_request(message.value) async for message in log.browse(REQUESTED_V2)]


def delta(requests: list[IndexRequest]) -> tuple[set[str], set[str]]:
    """Paths published and deleted."""
    files = {file.relative_path for request in requests for file in request.files}
    return files, {path for request in requests for path in request.deleted_files}


@dataclass
class Running:
    """A watcher that runs; it sleeps until the test lets it go on. `waits` are the times it wanted."""

    rounds: asyncio.Queue[Round] = field(default_factory=asyncio.Queue)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    waits: asyncio.Queue[float] = field(default_factory=asyncio.Queue)
    awake: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    time: float = 0.0
    service: WatchService = field(init=False)

    async def sleep(self, seconds: float) -> None:
        self.waits.put_nowait(seconds)
        await self.awake.get()
        self.time += seconds

    async def next(self) -> Round:
        """The next round."""
        return await asyncio.wait_for(self.rounds.get(), 30)

    async def go_on(self) -> float:
        """Let the time pass that the watcher waits for; how long it was."""
        seconds = await asyncio.wait_for(self.waits.get(), 30)
        self.awake.put_nowait(None)
        return seconds


@asynccontextmanager
async def running(configured: Settings, *repositories: Watched) -> AsyncIterator[Running]:
    place = Running()
    opened = watching(
        configured,
        repositories,
        tell=place.rounds.put_nowait,
        sleep=place.sleep,
        clock=lambda: place.time,
    )
    async with opened as place.service:
        task = asyncio.create_task(place.service.run(place.stop))
        try:
            yield place
        finally:
            place.stop.set()
            await asyncio.wait_for(task, 30)


__all__ = ["Outcome", "Running", "delta", "once", "one", "published", "running", "settings", "watched"]
