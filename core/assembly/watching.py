"""Everything that watching takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from core.assembly.ingesting import ingest
from core.assembly.parts import storage_to_check
from core.assembly.source import RemoteTarget, Target, open_git
from core.assembly.stores import open_log
from core.checks import disk_check, disk_of, git_check, log_check, storage_check
from core.errors import ConfigurationError, UnsafeInput, UsageError
from core.events.topics import REQUESTED_V2
from core.progress import Listener, ignore
from core.project import checked_name, directory_name
from core.safety.display import display
from core.safety.git_url import check_ref_name, parse_git_url
from core.settings import Settings
from core.settings.watch import WatchedRepository
from core.summary import IngestSummary
from core.telemetry.export import export
from core.telemetry.health import Check
from core.telemetry.metrics import Metrics
from core.watching.model import Round, Watched
from core.watching.service import WatchService
from core.watching.state import WatchState
from core.watching.watcher import Sleep, Watcher

if TYPE_CHECKING:
    from core.git.fetcher import GitContentFetcher
    from core.log.base import EventLog

Tell = Callable[[Round], None]

_HEADS = "refs/heads/"


def watched_repositories(settings: Settings) -> list[Watched]:
    """The repositories of `[[watch.repositories]]`.

    Raises `ConfigurationError` for one that may not be asked for, and where two would be one project.
    """
    found: dict[str, Watched] = {}
    for number, entry in enumerate(settings.watch.repositories, 1):
        try:
            watched = watched_repository(settings, entry)
        except (UnsafeInput, UsageError) as error:
            raise ConfigurationError(
                f"watch.repositories, entry {number}: {error}", hint=error.hint
            ) from None
        if watched.project in found:
            shown = display(watched.project)
            raise ConfigurationError(
                f"watch.repositories, entry {number}: another one is the project {shown} too",
                hint="give one of them a project_name",
            )
        found[watched.project] = watched
    return list(found.values())


def watched_repository(settings: Settings, entry: WatchedRepository) -> Watched:
    """`entry`, checked. Raises UnsafeInput for its URL or branch, `UsageError` for its other values."""
    from core.git.origin import credentials_for

    url = parse_git_url(entry.git_url, settings.git.url_policy())
    credentials_for(url, entry.credentials_ref)
    return Watched(
        str(url),
        directory_name(url.name) if entry.project_name is None else checked_name(entry.project_name),
        check_ref_name(entry.branch.removeprefix(_HEADS)) if entry.branch is not None else None,
        entry.credentials_ref,
        entry.interval or settings.watch.interval,
    )


@asynccontextmanager
async def watching(
    settings: Settings,
    repositories: Sequence[Watched],
    *,
    begin: Tell = lambda _round: None,
    tell: Tell = lambda _round: None,
    listener: Listener = ignore,
    service: bool = True,
    sleep: Sleep = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[WatchService]:
    """Open everything that watching `repositories` needs.

    What is no `service` ends by itself: its metrics are exported then, as those of an ingestion.
    Raises `ConfigurationError`, `BackendUnavailable`.
    """
    async with AsyncExitStack() as stack:
        metrics = Metrics(CollectorRegistry(), per_project=settings.telemetry.per_project)
        for name, directory in (("data", settings.data_dir), ("cache", settings.cache_dir)):
            metrics.watch_disk(name, partial(disk_of, directory))
        if not service:
            stack.push_async_callback(export, metrics, settings.telemetry)
        log = await stack.enter_async_context(open_log(settings))
        await log.max_message_bytes(REQUESTED_V2)  # what cannot be written to later must be told now
        state = await stack.enter_async_context(WatchState(settings.data_dir / "watch", log.name))
        git = await open_git(settings)
        stack.push_async_callback(git.close)
        metrics.watch_caches(lambda: {"git": git.cache.stats()})
        host = GitHost(settings, git, metrics, listener)

        def told(done: Round) -> None:
            watch.count(done)
            tell(done)

        watcher = Watcher(
            repositories,
            host,
            state,
            longest_pause_s=settings.watch.longest_pause,
            ingestions_at_once=settings.watch.ingestions_at_once,
            grace_s=settings.agent.grace,
            begin=begin,
            tell=told,
            sleep=sleep,
            clock=clock,
        )
        watch = WatchService(
            watcher,
            metrics,
            checks=await _checks(settings, log, stack),
            health=settings.health,
            hook_secret=settings.watch.hook_secret,
        )
        yield watch


class GitHost:
    """Watched branches on real hosts; ingesting one is an ordinary ingestion of its URL."""

    def __init__(
        self, settings: Settings, git: GitContentFetcher, metrics: Metrics, listener: Listener
    ) -> None:
        self._settings = settings
        self._git = git
        self._metrics = metrics
        self._listener = listener

    async def tip(self, watched: Watched) -> str:
        """As `Host.tip`."""
        from core.git.errors import UnknownRef
        from core.git.refs import resolve_ref

        credentials = self._git.hosts.allow(watched.url, watched.credential_ref)
        try:
            return (await resolve_ref(self._git, watched.url, _ref(watched), credentials)).commit
        except UnknownRef:
            named = (
                f"branch {display(watched.branch, 80)}" if watched.branch else "commit on a default branch"
            )
            raise UnknownRef(
                f"the repository has no {named}",
                hint="what was ingested stays; name another branch if it is gone for good",
            ) from None

    async def ingest(self, watched: Watched, stop: asyncio.Event) -> tuple[str, IngestSummary]:
        """As `Host.ingest`; the branch may have moved since it was looked at."""
        target = Target(
            RemoteTarget(watched.url),
            ref=_ref(watched),
            credential_ref=watched.credential_ref,
            project_name=watched.project,
            rebind=True,  # the operator wrote project and URL down side by side
        )
        summary, state = await ingest(
            self._settings, target, stop, listener=self._listener, git=self._git, metrics=self._metrics
        )
        assert state  # noqa: S101 - a commit on a Git host has one
        return state.commit or "", summary

    async def is_behind(self, watched: Watched, earlier: str, commit: str) -> bool | None:
        """As `Host.is_behind`."""
        from core.git.ancestry import is_behind

        credentials = self._git.hosts.allow(watched.url, watched.credential_ref)
        return await self._git.on_host(
            watched.url, credentials, lambda session: is_behind(session, earlier, commit)
        )


def _ref(watched: Watched) -> str | None:
    return f"{_HEADS}{watched.branch}" if watched.branch is not None else None


async def _checks(settings: Settings, log: EventLog, stack: AsyncExitStack) -> list[Check]:
    """What publishing from Git hosts depends on."""
    health = settings.health
    makes_topics = not settings.kafka.servers or settings.kafka.create_topics
    storage = await storage_to_check(settings, stack)
    return [
        log_check(lambda: nullcontext(log), [REQUESTED_V2], makes_topics=makes_topics),
        disk_check("data disk", settings.data_dir, health.min_free, required=True),
        disk_check("cache disk", settings.cache_dir, health.min_free, required=False),
        *([storage_check(storage)] if storage else []),
        git_check(settings.git.known_addresses()),
    ]
