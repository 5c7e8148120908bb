"""Fetching ahead of need: a whole repository, the files of one event, or those of the events that wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from core import units
from core.errors import InvalidEvent
from core.events.codec import decode_request
from core.events.request import Carrier, IndexRequest, RequestedFile
from core.fetchers.git_reference import GitReferenceFetcher
from core.fetchers.resolver import Resolved, Resolver, Unresolved
from core.git.source import RepositoryToWarm, WarmedRepository, WarmLimits, WarmTell
from core.log.base import EventLog, LogMessage
from core.safety.redact import redact


@dataclass(frozen=True, slots=True)
class WarmedFile:
    """What fetching a file into the caches yielded: its bytes, or the reason and message of its failure."""

    path: str
    bytes: int = 0
    reason: str | None = None
    message: str | None = None


@dataclass(slots=True)
class WarmedEvents:
    """What fetching the files of waiting events yielded; `failed` counts files by reason.

    `unreadable` are messages that are no request: the consumer will dead-letter them.
    """

    events: int = 0
    files: int = 0
    bytes: int = 0
    unreadable: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def sentence(self) -> str:
        """What came of it, in words."""
        failed = self.failed.total()
        here = f"{self.files - failed:,} files are here ({units.size(self.bytes)})"
        return f"{self.events:,} waiting events: {here}, {failed:,} could not be had"

    def to_json(self) -> dict[str, object]:
        """The published shape of `cache warm --waiting --json`."""
        return {
            "events": self.events,
            "files": self.files,
            "bytes": self.bytes,
            "unreadable": self.unreadable,
            "failed": dict(self.failed),
        }


class Warmer:
    """Fills the caches through the fetchers that a consumer uses; `limits` hold for repositories."""

    def __init__(self, resolver: Resolver, git: GitReferenceFetcher, limits: WarmLimits) -> None:
        self._resolver = resolver
        self._git = git
        self._limits = limits
        self._turns = asyncio.Semaphore(limits.at_once)

    async def repositories(
        self, wanted: Sequence[RepositoryToWarm], tell: WarmTell | None = None
    ) -> list[WarmedRepository]:
        """Fetch every file of these; one answer per repository, in order."""
        return await self._git.warm(wanted, self._limits, self._turns, tell)

    async def files(
        self, request: IndexRequest, files: Sequence[RequestedFile] | None = None
    ) -> list[WarmedFile]:
        """Fetch and verify `files` of `request` (None: all of them) as the consumer would."""
        wanted = request.files if files is None else files
        return [_warmed(answer) for answer in await self._resolver.resolve(request, wanted)]

    async def waiting(
        self,
        log: EventLog,
        group: str,
        topics: Sequence[str],
        *,
        limit: int,
        tell: Callable[[WarmedEvents], None],
    ) -> WarmedEvents:
        """Fetch the files of at most `limit` events that `group` has not done, a topic's oldest first.

        Nothing is consumed. `tell` hears after each event how far it is. Raises what the log raises.
        """
        done = WarmedEvents()
        async for message in _waiting(log, group, topics):
            if done.events + done.unreadable >= limit:
                break
            try:
                request = decode_request(message.value or b"")
            except InvalidEvent:
                done.unreadable += 1
                continue
            for warmed in await self.files(request, [each for each in request.files if _is_cached(each)]):
                done.files += 1
                done.bytes += warmed.bytes
                if warmed.reason:
                    done.failed[warmed.reason] += 1
            done.events += 1
            tell(done)
        return done


def _is_cached(file: RequestedFile) -> bool:
    """Whether a cache holds such files: the others come in the event, or lie on this machine."""
    return file.carrier in {Carrier.OBJECT_STORAGE, Carrier.GIT_REFERENCE}


def _warmed(answer: Resolved | Unresolved) -> WarmedFile:
    path = answer.file.relative_path
    if isinstance(answer, Resolved):
        return WarmedFile(path, answer.size)
    return WarmedFile(path, reason=answer.error.reason, message=redact(str(answer.error)))


async def _waiting(log: EventLog, group: str, topics: Sequence[str]) -> AsyncIterator[LogMessage]:
    """The messages from each partition's committed offset on."""
    for topic in topics:
        places = await log.lag(group, [topic])
        if any(place.lag for place in places):
            starts = {place.partition: place.committed or 0 for place in places}
            async for message in log.browse(topic, starts=starts):
                if message.offset >= starts.get(message.partition, 0):
                    yield message
