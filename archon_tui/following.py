"""What the agents elsewhere make of a run: asked of the log every second, until they are through with it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from archon_tui.backends import Backends
from archon_tui.refresh import Reading, Source, answer
from core.fleet import Member, read_fleet
from core.outcomes import Outcomes
from core.progress import AgentsReported, FileFailed, Listener

LOOK_S = 1.0
DEADLINE_S = 10.0


class Following:
    """Tells `listener` what the outcomes of a run's batches and the agents' statuses say.

    `reading` says when that was last known, and why no newer is. Caches are counted from the first look on.
    """

    def __init__(self, backends: Backends, group: str, project: str, listener: Listener) -> None:
        self.reading: Reading[None] = Reading()
        self._backends = backends
        self._group = group
        self._project = project
        self._tell = listener
        self._outcomes: Outcomes | None = None
        self._before: Counter[tuple[str, str, str]] = Counter()

    async def follow(self, job: str, is_through: Callable[[], bool]) -> None:
        """Look again and again until `is_through`; a log that is gone is asked again."""
        source: Source[None] = Source(
            "the agents' outcomes", lambda: self._look(job), lambda _: None, deadline_s=DEADLINE_S
        )
        while not is_through():
            source.reading = self.reading = await answer(source, self._backends.clock)
            await asyncio.sleep(LOOK_S)

    async def begin(self) -> None:
        """Note what the log and the caches have before the run publishes. Raises what the log raises."""
        log = await self._backends.log()
        outcomes = Outcomes(log, self._group)
        await outcomes.begin()
        self._before = _lookups(await read_fleet(log), self._group)
        self._outcomes = outcomes

    async def _look(self, job: str) -> None:
        if self._outcomes is None:
            await self.begin()
            assert self._outcomes  # noqa: S101 - just begun
        log = await self._backends.log()
        for failure in await self._outcomes.look(job):
            self._tell(FileFailed(self._project, failure.path, failure.reason, failure.message, job))
        lookups = _lookups(await read_fleet(log), self._group)
        lag = await log.lag(self._group, self._backends.settings.log.topics)
        total = self._outcomes.total()
        self._tell(
            AgentsReported(
                self._outcomes.batches,
                total.files,
                total.indexed,
                total.failed,
                total.skipped,
                sum(place.lag for place in lag),
                total.by_source,
                self._since(lookups, "hits"),
                self._since(lookups, "misses"),
            )
        )

    def _since(self, lookups: Counter[tuple[str, str, str]], what: str) -> dict[str, int]:
        """Lookups by cache, less what each agent had counted before."""
        by_cache: Counter[str] = Counter()
        for (agent, cache, kind), count in lookups.items():
            if kind == what:
                by_cache[cache] += count - self._before[agent, cache, kind]
        return dict(by_cache)


def _lookups(fleet: Sequence[Member], group: str) -> Counter[tuple[str, str, str]]:
    """Lookups by agent, cache, and `hits` or `misses`."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for status in (member.status for member in fleet if member.status.group == group):
        for name, cache in status.caches.items():
            counts[status.id, name, "hits"] = cache.hits
            counts[status.id, name, "misses"] = cache.misses
    return counts
