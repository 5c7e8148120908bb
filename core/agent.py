"""An agent at work: the consumer with everything that tells about it and asks of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from core.bridge import BridgeIntelligenceGenerator
from core.cache.counters import CacheStats
from core.checks import consumer_checks
from core.consumer import Consumer, RunSummary
from core.errors import ArchonError
from core.events.agent import AgentStatus, CacheFigures
from core.fleet import Tally, Work, reporting
from core.log.base import EventLog, PartitionLag
from core.log.lag import LagWindow
from core.settings.operations import HealthSettings
from core.telemetry.health import Check, HealthMonitor, Report, alive
from core.telemetry.metrics import Metrics
from core.warming import Warmer

logger = logging.getLogger(__name__)

LAG_EVERY_S = HEALTH_EVERY_S = 15.0

Sleep = Callable[[float], Awaitable[None]]
Caches = Callable[[], Mapping[str, CacheStats]]


def no_caches() -> Mapping[str, CacheStats]:
    """For an agent whose sources need no cache."""
    return {}


class Agent:
    """Runs the consumer, says how it is on the status topic, and answers the HTTP server."""

    def __init__(
        self,
        log: EventLog,
        consumer: Consumer,
        bridge: BridgeIntelligenceGenerator,
        warmer: Warmer,
        tally: Tally,
        metrics: Metrics,
        *,
        group: str,
        topics: Sequence[str],
        caches: Caches = no_caches,
        checks: Sequence[Check] = (),
        health: HealthSettings | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`checks` are what the agent depends on, besides its own group and commits."""
        self._log = log
        self._consumer = consumer
        self.bridge = bridge
        self.warmer = warmer
        self._tally = tally
        self.metrics = metrics
        self._group = group
        self._topics = topics
        self.caches = caches
        self._sleep = sleep
        self._window = LagWindow(group)
        self._health = health or HealthSettings()
        self._monitor = HealthMonitor(
            [*consumer_checks(consumer), *checks],
            deadline_s=self._health.check_deadline,
            max_age_s=self._health.check_max_age,
        )
        metrics.watch_consumer(
            in_flight=lambda: consumer.in_flight,
            files_in_flight=lambda: tally.files_in_flight,
            assigned=lambda: len(consumer.assignment()),
            progress_age=lambda: consumer.progress_age,
            blocked=lambda: consumer.blocked is not None,
            oldest_age=lambda: consumer.oldest_in_flight_s,
        )
        metrics.watch_caches(caches)

    def pause(self, paused: bool) -> None:
        """Take nothing new until told otherwise; what is in flight finishes."""
        self._consumer.paused = paused

    async def run(self, *, drain: bool, stop: asyncio.Event) -> RunSummary:
        """Consume as `Consumer.run` does, telling the fleet meanwhile."""
        watching = [asyncio.create_task(self._watch_lag()), asyncio.create_task(self._watch_health())]
        try:
            async with reporting(self._log, self.status, sleep=self._sleep):
                return await self._consumer.run(drain=drain, stop=stop)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            await self._monitor.close()

    def status(self) -> AgentStatus:
        """How this agent is now."""
        consumer = self._consumer
        events, held_bytes = consumer.in_flight
        work = Work(consumer.assignment(), events, held_bytes, consumer.progress_age, consumer.blocked)
        caches = {name: _figures(stats) for name, stats in self.caches().items()}
        return self._tally.status(work, caches)

    def alive(self) -> Report:
        """Whether this process goes on, or should be started anew."""
        return alive(self._consumer.progress_age, self._health.progress_deadline)

    async def readiness(self) -> Report:
        """Whether this agent works: its group, its commits, and what it depends on."""
        return await self._monitor.report()

    async def _watch_lag(self) -> None:
        """Keep the lag metrics of the partitions that are ours fresh."""
        loop = asyncio.get_running_loop()
        while not self._consumer.assignment():
            await self._sleep(1.0)
        while True:
            try:
                self._window.add(await self._places(), loop.time())
                # The fleet is not asked for owners: the partitions are ours before our status says so.
                report = self._window.report()
                verdicts = {
                    (part.place.topic, part.place.partition): part.judgement.verdict.value
                    for part in report.partitions
                }
                self.metrics.show_lag([part.place for part in report.partitions], verdicts)
            except ArchonError as error:
                logger.info("the lag cannot be read now: %s", error)
            await self._sleep(LAG_EVERY_S)

    async def _watch_health(self) -> None:
        """Keep the metrics of the checks fresh, whoever else asks."""
        while True:
            self.metrics.show_health(await self._monitor.report())
            await self._sleep(HEALTH_EVERY_S)

    async def _places(self) -> list[PartitionLag]:
        ours = self._consumer.assignment()
        return [
            place
            for place in await self._log.lag(self._group, self._topics)
            if (place.topic, place.partition) in ours
        ]


def _figures(stats: CacheStats) -> CacheFigures:
    return CacheFigures(
        hits=stats.hits,
        misses=sum(stats.misses.values()),
        bytes=stats.bytes,
        max_bytes=stats.max_bytes,
        entries=stats.entries,
        evictions=stats.evictions,
        corruptions=stats.corruptions,
        causes=stats.misses,
    )
