"""A watcher at work, with everything that tells about it and asks of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

from core.errors import AccessDenied
from core.safety.display import display
from core.safety.redact import redact
from core.settings.operations import HealthSettings
from core.settings.secret import read_secret
from core.telemetry.health import Check, Finding, HealthMonitor, Report, State, alive
from core.telemetry.metrics import Metrics
from core.watching.hooks import Push, parse, verify
from core.watching.model import Round
from core.watching.watcher import Place, Watcher

logger = logging.getLogger(__name__)

HEALTH_EVERY_S = 15.0
_NAMED: Final = 5
"""Failing repositories that a check tells by name; of the rest it tells the number."""

Sleep = Callable[[float], Awaitable[object]]


class WatchService:
    """Runs a watcher, counts what it does, and answers the HTTP server."""

    def __init__(
        self,
        watcher: Watcher,
        metrics: Metrics,
        *,
        checks: Sequence[Check] = (),
        health: HealthSettings | None = None,
        hook_secret: str | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`checks` are what watching depends on; `hook_secret` is the reference of the hooks' secret."""
        self.watcher = watcher
        self.metrics = metrics
        self._hook_secret = hook_secret
        self._sleep = sleep
        health = health or HealthSettings()
        self._progress_deadline_s = health.progress_deadline
        self._monitor = HealthMonitor(
            [*checks, repositories_check(lambda: list(watcher.places.values()))],
            deadline_s=health.check_deadline,
            max_age_s=health.check_max_age,
        )
        metrics.watch_branches({project: partial(watcher.behind_s, project) for project in watcher.places})

    def count(self, done: Round) -> None:
        """Show a round in the metrics."""
        project = done.watched.project
        place = self.watcher.places[project]
        self.metrics.show_round(
            project,
            done.outcome,
            reason=done.error.reason if done.error else None,
            failures=place.failures,
            succeeded_at=place.succeeded_at,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop`."""
        looking = asyncio.create_task(self._watch_health())
        try:
            await self.watcher.run(stop)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await self._monitor.close()

    def alive(self) -> Report:
        """Whether this process goes on: that it answers at all says so, since its one loop does both."""
        return alive(0.0, self._progress_deadline_s)

    async def readiness(self) -> Report:
        """Whether watching works: what it depends on, and which repositories fail."""
        return await self._monitor.report()

    def hook(self, headers: Mapping[str, str], body: bytes) -> tuple[dict[str, str], str | None]:
        """What a push hook leads to, by project; where that is nothing, also why.

        Raises `AccessDenied` for one that is not genuine, `InvalidEvent` for one that is no push hook,
        `ConfigurationError` where the secret cannot be read.
        """
        pushes = self._verified(headers, body)
        done: dict[str, str] = {}
        for push in pushes:
            for project, what in self.watcher.push(push).items():
                if done.get(project) != "queued":
                    done[project] = what
        why = None
        if not pushes:
            outcome, why = "ignored", "not a push to a branch"
        elif not done:
            outcome, why = "unmatched", _unmatched(pushes)
            logger.warning("a push hook changed nothing: %s", why)
        else:
            outcome = "queued" if "queued" in done.values() else "ignored"
        self.metrics.watch.hooks.labels(outcome).inc()
        return done, why

    def refuse(self) -> None:
        """Count a hook that nothing is done about, because nobody vouches for it."""
        self.metrics.watch.hooks.labels("refused").inc()

    def _verified(self, headers: Mapping[str, str], body: bytes) -> list[Push]:
        try:
            if self._hook_secret is None:
                raise AccessDenied("hooks are off: the server has no watch.hook_secret")
            verify(headers, body, read_secret(self._hook_secret))
        except AccessDenied:
            self.refuse()
            raise
        return parse(headers, body)

    async def _watch_health(self) -> None:
        """Keep the metrics of the checks fresh, whoever else asks."""
        while True:
            self.metrics.show_health(await self._monitor.report())
            await self._sleep(HEALTH_EVERY_S)


def repositories_check(places: Callable[[], Sequence[Place]]) -> Check:
    """Every watched branch can be ingested; says which cannot, and why. The others go on meanwhile."""

    async def probe() -> Finding:
        known = places()
        failing = [place for place in known if place.failures]
        if not failing:
            return Finding(f"{len(known)} watched, none fails")
        told = "; ".join(map(_trouble, failing[:_NAMED]))
        more = f"; and {len(failing) - _NAMED} more" if len(failing) > _NAMED else ""
        hint = next((place.error.hint for place in failing if place.error and place.error.hint), None)
        return Finding(f"{len(failing)} of {len(known)} fail: {told}{more}", State.DEGRADED, hint)

    return Check("repositories", probe, required=False, cheap=True)


def _unmatched(pushes: Sequence[Push]) -> str:
    told = sorted({name for push in pushes for name in push.repositories})
    about = display(redact(", ".join(told[:_NAMED])), 300) or "a repository without a clone URL"
    return f"no watched repository is {about}"


def _trouble(place: Place) -> str:
    why = display(redact(str(place.error)), 160) if place.error else "unknown"
    times = "" if place.failures == 1 else f" ({place.failures} times in a row)"
    return f"{display(place.watched.project)}: {why}{times}"
