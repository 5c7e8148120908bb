"""A run as the dashboard drives it: publish the plan, and on the embedded log consume it here too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from archon_tui.backends import Backends
from archon_tui.following import DEADLINE_S, Following
from archon_tui.models.run import RunModel, RunState
from archon_tui.processes import ready_for_processes
from core.assembly.consuming import consuming
from core.assembly.publishing import ingestion
from core.assembly.source import RemoteTarget, Target
from core.assembly.stores import open_log
from core.consumer import RunSummary
from core.errors import ArchonError
from core.journal import Header, Recorder, new_file, outcome, prune
from core.planner import PlanItem
from core.progress import RunEvent
from core.safety.redact import redact
from core.settings import Settings
from core.summary import IngestSummary

if TYPE_CHECKING:
    from archon_tui.planning import PlanWork
    from core.agent import Agent

logger = logging.getLogger(__name__)

DRAIN_LOOK_S = 0.25
CLOSE_S = 0.3


class RunWork:
    """One run. `model` has its figures; `state` what it is doing; `error` what ended it."""

    def __init__(
        self, backends: Backends, settings: Settings, target: Target, name: str, planned: dict[str, int]
    ) -> None:
        self.backends = backends
        self.settings = settings
        self.target = target
        self.name = name
        self.state = RunState.RUNNING
        self.error: Exception | None = None
        self.model = RunModel(planned, consumes=backends.consumes_here)
        self.published: IngestSummary | None = None
        self.consumed: RunSummary | None = None
        self.started_at = backends.clock()
        self.ended_at: float | None = None
        self._header = Header(
            name, source_of(target), backends.log_kind, backends.now(), planned, backends.consumes_here
        )
        group = settings.log.group
        self.following = None if backends.consumes_here else Following(backends, group, name, self._tell)
        self._recorder: Recorder | None = None
        self._agent: Agent | None = None
        self._gate = asyncio.Event()
        self._gate.set()
        self._stop = asyncio.Event()
        self._stop_consuming = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def start(cls, backends: Backends, plan: PlanWork) -> RunWork:
        """Run what `plan` shows."""
        summary = plan.totals().summary
        planned = {str(name): part.files for name, part in summary.by_strategy.items()}
        planned["discovered"] = summary.files_discovered
        run = cls(backends, plan.settings, plan.target(), plan.chosen.name, planned)
        run.begin()
        return run

    def begin(self) -> None:
        """Go to work."""
        self._task = asyncio.create_task(self._work())

    @property
    def is_active(self) -> bool:
        """Whether anything is done here; what is published goes on elsewhere."""
        return not (self.state.is_over or self.state is RunState.PUBLISHED)

    @property
    def elapsed_s(self) -> float:
        return (self.backends.clock() if self.ended_at is None else self.ended_at) - self.started_at

    @property
    def message(self) -> str:
        """What ended it, for a person."""
        return redact(str(self.error)) if self.error else ""

    @property
    def journal_trouble(self) -> str | None:
        return self._recorder.trouble if self._recorder else "no journal is written"

    def toggle_pause(self) -> None:
        """Hold, or go on. What is in flight finishes."""
        self.state = RunState.RUNNING if self.state is RunState.PAUSED else RunState.PAUSED
        if self.state is RunState.PAUSED:
            self._gate.clear()
        else:
            self._gate.set()
        if self._agent:
            self._agent.pause(self.state is RunState.PAUSED)

    def cancel(self) -> None:
        """Read and take nothing more; what the log acknowledged stays."""
        self.state = RunState.STOPPING
        self._stop.set()
        self._stop_consuming.set()
        self._gate.set()

    async def wait(self) -> None:
        """Until it is over."""
        if self._task:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """Stop at once: what is in flight is left, and will be delivered again."""
        if self._task and not self._task.done():
            if self.is_active:
                self.cancel()
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CLOSE_S)

    def tick(self) -> None:
        """Sample the rates."""
        if not self.state.is_over:
            self.model.tick(self.backends.clock() - self.started_at)

    def outcome(self) -> dict[str, Any]:
        """What became of it: the shape of the journal's last line and of the export."""
        return outcome(
            str(self.state),
            self.name,
            self.elapsed_s,
            error=self.message or None,
            published=self.published,
            consumed=self.consumed,
            files_failed=self.model.counts["failed"],
            dead_lettered=self.model.counts["dead_lettered"],
        )

    # The work

    async def _work(self) -> None:
        try:
            self._recorder = Recorder(new_file(self.backends.journal_dir, self._header), self._header)
        except ArchonError as error:
            logger.warning("the run is not recorded: %s", error)
        try:
            await (
                self._publish_and_follow(self.following) if self.following else self._publish_and_consume()
            )
            ended = RunState.CANCELLED if self._stop.is_set() else RunState.DONE
        except asyncio.CancelledError:
            self._end(RunState.CANCELLED if self.is_active else self.state)
            raise
        except Exception as error:  # noqa: BLE001 - the screen shows whatever ended the run
            self.error, ended = error, RunState.FAILED
            logger.warning("the run failed: %s", error)
        self._end(ended)
        if self._recorder:
            await asyncio.to_thread(prune, self.backends.journal_dir)

    def _end(self, state: RunState) -> None:
        if self.published and self.published.refusal and state is RunState.DONE:
            state, self.error = RunState.FAILED, ArchonError(self.published.refusal)
        self.model.tick(self.backends.clock() - self.started_at)
        self.ended_at = self.backends.clock()
        self.state = state
        self.model.version += 1
        if self.consumed and self.consumed.files_processed and self.consumed.duration_s:
            self.backends.files_per_s = self.consumed.files_processed / self.consumed.duration_s
        if self._recorder:
            self._recorder.end(self.outcome())
            self._recorder.close()

    async def _publish_and_consume(self) -> None:
        consuming_here = asyncio.create_task(self._consume())
        try:
            await self._publish()
            await self._drained(consuming_here)
        finally:
            self._stop_consuming.set()
            with suppress(asyncio.CancelledError):
                await consuming_here

    async def _publish_and_follow(self, following: Following) -> None:
        """Publish, and until the agents are through with it tell what they say."""
        asking: asyncio.Task[None] | None = None

        async def follow(job: str) -> None:
            nonlocal asking
            with suppress(ArchonError, TimeoutError):  # publishing will say it
                async with asyncio.timeout(DEADLINE_S):
                    await following.begin()
            asking = asyncio.create_task(following.follow(job, self._is_through))

        try:
            await self._publish(follow)
            sent = self.published
            if asking and sent and sent.files_published and not (sent.refusal or self._stop.is_set()):
                self.state = RunState.PUBLISHED
                self.model.version += 1
                await asking
        finally:
            if asking:
                asking.cancel()

    def _is_through(self) -> bool:
        return self.model.published_whole and self.model.is_accounted_for

    async def _publish(self, opened: Callable[[str], Awaitable[None]] | None = None) -> None:
        """Publish the plan; `opened` gets the ingestion's correlation id before anything is sent."""
        async with ingestion(self.settings, self.target, listener=self._tell) as job:
            await job.guard.check(job.context.repository)
            await job.guard.passed()
            if opened:
                await opened(job.publisher.correlation_id)
            plan = self._gated(job.planner.stream())
            self.published = await job.publisher.publish(plan, stop=self._stop)
        self.model.published_whole = True

    async def _gated(self, plan: AsyncIterator[list[PlanItem]]) -> AsyncIterator[list[PlanItem]]:
        """The plan, held up while the run is paused."""
        async with aclosing(plan) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                await self._gate.wait()
                yield chunk

    async def _consume(self) -> None:
        ready_for_processes()
        async with consuming(self.settings, listener=self._tell, service=False) as agent:
            self._agent = agent
            agent.pause(self.state is RunState.PAUSED)
            self.consumed = await agent.run(drain=False, stop=self._stop_consuming)

    async def _drained(self, consuming_here: asyncio.Task[None]) -> None:
        """Wait until nothing waits in the log any more, or the consumer ended."""
        settings = self.settings.log
        async with open_log(self.settings) as log:
            while not (consuming_here.done() or self._stop_consuming.is_set()):
                lag = await log.lag(settings.group, settings.topics)
                if not any(partition.lag for partition in lag):
                    return
                await asyncio.wait([consuming_here], timeout=DRAIN_LOOK_S)

    def _tell(self, event: RunEvent) -> None:
        self.model.add(event, self.backends.clock() - self.started_at)
        if self._recorder:
            self._recorder(event)


def source_of(target: Target) -> str:
    """The path or URL that a target names."""
    return target.path.url if isinstance(target.path, RemoteTarget) else str(target.path)
