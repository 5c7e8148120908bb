"""The loop of `archon-agent watch`: looks at branches, and ingests those that moved."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, TypeVar

from core.errors import ArchonError, BackendUnavailable
from core.safety.display import display
from core.summary import IngestSummary
from core.telemetry.log_context import logging_with
from core.watching.hooks import Push, key_of
from core.watching.model import Ingested, Outcome, Round, Watched, Work, work_for
from core.watching.pace import Pace
from core.watching.state import WatchState

logger = logging.getLogger(__name__)

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[object]]

LOOKS_APART_S: Final = 5.0
"""Hooks make no repository be looked at more often than this, however many come."""

_SHORT = 12


class Host(Protocol):
    """The Git hosts, and the way from them into the log."""

    async def tip(self, watched: Watched) -> str:
        """The commit that the branch is at; one request. Raises `UnknownRef`, `BackendUnavailable`, …"""
        ...

    async def ingest(self, watched: Watched, stop: asyncio.Event) -> tuple[str, IngestSummary]:
        """Publish what differs from what was published; the commit it was, and what became of it."""
        ...

    async def is_behind(self, watched: Watched, earlier: str, commit: str) -> bool | None:
        """Whether `earlier` is behind `commit`; None where that cannot be told."""
        ...


@dataclass(slots=True)
class Place:
    """How it is with one repository now. Times are seconds of the watcher's clock, `*_at` Unix time."""

    watched: Watched
    failures: int = 0
    error: ArchonError | None = None
    tip: str | None = None
    ingested: Ingested | None = None
    ahead_since: float | None = None
    succeeded_at: float | None = None
    not_before: float = 0.0
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Watcher:
    """Watches repositories whose projects differ; at most `ingestions_at_once` are ingested at a time."""

    def __init__(
        self,
        repositories: Sequence[Watched],
        host: Host,
        state: WatchState,
        *,
        longest_pause_s: float = 1800.0,
        ingestions_at_once: int = 4,
        grace_s: float = 25.0,
        begin: Callable[[Round], None] = lambda _round: None,
        tell: Callable[[Round], None] = lambda _round: None,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`tell` is told of every round, `begin` of one that is about to ingest.

        `grace_s` is the time that is left to a round after a stop.
        """
        self.places = {watched.project: Place(watched) for watched in repositories}
        self._host = host
        self._state = state
        self._longest_pause_s = longest_pause_s
        self._turns = asyncio.Semaphore(ingestions_at_once)
        self._grace_s = grace_s
        self._begin = begin
        self._tell = tell
        self._sleep = sleep
        self._clock = clock
        self._now = now

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop`; what is in flight then is finished as far as the log has it."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for place in self.places.values():
                    tasks.create_task(self._watch(place, stop))
        except ExceptionGroup as failed:  # of whom it tells: no round raises
            raise failed.exceptions[0] from None

    async def once(self, stop: asyncio.Event) -> list[Round]:
        """One round of every repository."""
        return await asyncio.gather(*(self._look(place, stop) for place in self.places.values()))

    def push(self, push: Push) -> dict[str, str]:
        """Look at what `push` is about as soon as may be; by project, what will be done.

        The push itself is believed in nothing: its replay costs one look at most.
        """
        return {
            project: self._pushed(place, push)
            for project, place in self.places.items()
            if key_of(place.watched.url) in push.repositories
        }

    def _pushed(self, place: Place, push: Push) -> str:
        branch = place.watched.branch or push.default_branch
        if branch and push.branch != branch:
            return "another branch is watched"
        if place.ingested and place.ingested.commit == push.commit and place.ahead_since is None:
            return "already ingested"
        place.wake.set()
        return "queued"

    def behind_s(self, project: str) -> float:
        """For how long the branch is known to be ahead of what is ingested; 0 where it is not."""
        since = self.places[project].ahead_since
        return 0.0 if since is None else self._clock() - since

    async def _watch(self, place: Place, stop: asyncio.Event) -> None:
        while not stop.is_set():
            done = await self._look(place, stop, again=True)
            await self._wait(place, done.next_s or 0.0, stop)

    async def _wait(self, place: Place, seconds: float, stop: asyncio.Event) -> None:
        """Until it is time, a hook came and it is not too soon, or the end."""
        await self._first(stop, self._sleep(seconds), place.wake.wait())
        early = place.not_before - self._clock()
        if place.wake.is_set() and early > 0:
            await self._first(stop, self._sleep(early))

    async def _first(self, stop: asyncio.Event, *waits: Awaitable[object]) -> None:
        tasks = [asyncio.ensure_future(wait) for wait in (stop.wait(), *waits)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, place: Place, stop: asyncio.Event, *, again: bool = False) -> Round:
        """One round, whose failure is its outcome; it raises for nothing but cancellation."""
        place.wake.clear()
        place.tip = None
        watched = place.watched
        begun, started = Round(watched, Outcome.FAILED, self._now(), 0.0), self._clock()
        with logging_with(project=watched.project):
            try:
                done = await self._round(place, begun, stop)
            except _Stopped:
                done = replace(begun, outcome=Outcome.INTERRUPTED, commit=place.tip)
            except ArchonError as error:
                done = replace(begun, error=error, commit=place.tip)
            except Exception as error:
                logger.exception("unexpected failure while watching")
                unexpected = ArchonError(f"unexpected {type(error).__name__}: {error}")
                done = replace(begun, error=unexpected, commit=place.tip)
        retry_after = self._note(place, done)
        wait = Pace(watched.interval_s, self._longest_pause_s).wait(place.failures, retry_after)
        done = replace(done, duration_s=self._clock() - started, next_s=wait if again else None)
        self._tell(done)
        return done

    def _note(self, place: Place, done: Round) -> float | None:
        """Keep what `done` says of the repository; the pause its host asked for."""
        if done.succeeded:
            place.failures, place.error, place.succeeded_at = 0, None, self._now()
        elif done.outcome is Outcome.FAILED:
            place.failures += 1
            place.error = done.error
        retry_after = getattr(done.error, "retry_after", None)
        apart = min(LOOKS_APART_S, place.watched.interval_s)
        place.not_before = self._clock() + max(apart, retry_after or 0.0)
        return retry_after

    async def _round(self, place: Place, begun: Round, stop: asyncio.Event) -> Round:
        watched = place.watched
        tip = place.tip = await self._until(stop, 0.0, self._host.tip(watched))
        place.ingested = await self._state.get(watched.project)
        if work_for(watched, place.ingested, tip) is Work.NONE:
            place.ahead_since = None
            return replace(begun, outcome=Outcome.UNCHANGED, commit=tip, previous=tip)
        if place.ahead_since is None:
            place.ahead_since = self._clock()
        async with self._turns:
            if stop.is_set():
                raise _Stopped
            with self._state.claim(watched.project) as ours:
                if not ours:
                    note = "another process is ingesting it"
                    return replace(begun, outcome=Outcome.BUSY, commit=tip, note=note)
                return await self._ingest(place, replace(begun, commit=tip), stop)

    async def _ingest(self, place: Place, begun: Round, stop: asyncio.Event) -> Round:
        """Bring the log to where the branch is; the project is ours."""
        watched, tip = place.watched, begun.commit or ""
        known = place.ingested = await self._state.get(watched.project)  # before, it was not ours
        work = work_for(watched, known, tip)
        if work is Work.NONE:
            place.ahead_since = None
            return replace(begun, outcome=Outcome.UNCHANGED, previous=tip)
        previous = known.commit if known and work is Work.DELTA else None
        begun = replace(begun, work=work, previous=previous)
        self._begin(begun)
        commit, summary = await self._until(stop, self._grace_s, self._host.ingest(watched, stop))
        begun = replace(begun, commit=commit, summary=summary)
        if summary.interrupted:
            return replace(begun, outcome=Outcome.INTERRUPTED)
        if error := _refusal(summary):
            return replace(begun, error=error)
        place.ingested = Ingested(watched.url, watched.branch, commit, self._now())
        await self._state.put(watched.project, place.ingested)
        place.ahead_since = None
        note = await self._rewriting(watched, previous, commit, stop) if previous else _first_note(known)
        return replace(begun, outcome=Outcome.INGESTED, note=note)

    async def _rewriting(
        self, watched: Watched, previous: str, commit: str, stop: asyncio.Event
    ) -> str | None:
        """What to say where the branch did not simply move forward."""
        try:
            behind = await self._until(stop, 0.0, self._host.is_behind(watched, previous, commit))
        except (ArchonError, _Stopped) as error:
            logger.info("whether the branch was rewritten is not known: %s", error)
            return None
        if behind is not False:
            return None
        return (
            f"the branch was rewritten: {previous[:_SHORT]} is not behind {commit[:_SHORT]};"
            " compared in full with what was published"
        )

    async def _until(self, stop: asyncio.Event, grace_s: float, work: Coroutine[Any, Any, T]) -> T:
        """The answer of `work`, which is cancelled `grace_s` after `stop`. Raises `_Stopped` then."""
        task = asyncio.ensure_future(work)
        ending = asyncio.ensure_future(self._end(stop, grace_s))
        try:
            await asyncio.wait({task, ending}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise _Stopped
        finally:
            for each in (task, ending):
                each.cancel()
            await asyncio.gather(task, ending, return_exceptions=True)

    async def _end(self, stop: asyncio.Event, grace_s: float) -> None:
        await stop.wait()
        if grace_s:
            await self._sleep(grace_s)


class _Stopped(Exception):
    """The watcher was told to stop before a round's work was done."""


def _refusal(summary: IngestSummary) -> ArchonError | None:
    """Why an ingestion is to be repeated: something was not acknowledged that may be later."""
    if summary.refusal:
        return BackendUnavailable(f"{summary.files_unpublished:,} files are unpublished: {summary.refusal}")
    return summary.unreachable


def _first_note(known: Ingested | None) -> str | None:
    if known is None:
        return None
    return f"before, the project was fed from {display(known.branch or 'the default branch')} of {known.url}"
