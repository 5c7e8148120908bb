"""What the screens share: settings, the open log and index, the chosen repository, the run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.settings import Settings

if TYPE_CHECKING:
    from archon_tui.planning import PlanWork
    from archon_tui.replay import Replay
    from archon_tui.running import RunWork
    from core.log.base import EventLog
    from core.results.index import ResultsIndex

CLOSE_S = 0.3


@dataclass(frozen=True, slots=True)
class Chosen:
    """The repository that Plan and Run are about: a path on this machine, or a Git URL."""

    where: str
    name: str
    ref: str | None = None


class Session:
    """Opens backends when a screen first needs them, and closes them all at the end."""

    def __init__(
        self,
        settings: Settings,
        *,
        roots: tuple[Path, ...] = (),
        read_only: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.settings = settings
        self.roots = roots
        self.read_only = read_only
        self.clock = clock
        self.now = now
        self.chosen: Chosen | None = None
        self.plan: PlanWork | None = None
        self.run: RunWork | None = None
        self.replay: Replay | None = None
        # Files a second that the consumers were last seen to analyse; None where never seen.
        self.files_per_s: float | None = None
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._log: EventLog | None = None
        self._index: ResultsIndex | None = None

    @property
    def log_kind(self) -> str:
        """`kafka` or `embedded`."""
        return "kafka" if self.settings.kafka.servers else "embedded"

    @property
    def consumes_here(self) -> bool:
        """Whether a run also analyses: on the embedded log this machine is all there is."""
        return self.log_kind == "embedded"

    @property
    def journal_dir(self) -> Path:
        return self.settings.journal_dir

    def data_file(self, name: str) -> Path:
        """A file of the dashboard's own in the data directory."""
        return self.settings.data_dir / "tui" / name

    def check_source(self, where: str) -> str | None:
        """What is wrong with a path or Git URL to ingest from; None where it will do."""
        path = Path(where).expanduser()
        if path.is_dir():
            return None
        return "there is no such directory" if not path.exists() else "that is not a directory"

    def with_publish(self, **changes: Any) -> Settings:
        """The settings with other publishing knobs, for a plan that asks what would be if."""
        return self.settings.model_copy(update={"publish": self.settings.publish.model_copy(update=changes)})

    def choose(self, chosen: Chosen) -> None:
        """Make a repository the one that Plan and Run are about."""
        self.chosen = chosen

    async def log(self) -> EventLog:
        """The event log, opened at the first call that succeeds. Raises what opening raises."""
        async with self._opening:
            if self._log is None:
                await _import_stores()
                from core.assembly.stores import open_log

                self._log = await self._stack.enter_async_context(open_log(self.settings))
            return self._log

    async def index(self) -> ResultsIndex:
        """The results index. Raises what opening raises."""
        async with self._opening:
            if self._index is None:
                await _import_stores()
                from core.assembly.stores import open_index

                self._index = await self._stack.enter_async_context(open_index(self.settings))
            return self._index

    async def close(self) -> None:
        """End the run and the plan, then close what was opened, within a limit: a dead backend is left."""
        for work in (self.run, self.plan):
            if work is not None:
                await work.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._stack.aclose()
        except TimeoutError:
            return


async def _import_stores() -> None:
    """Import what opens stores beside the loop: it is large."""
    await asyncio.to_thread(import_module, "core.assembly.stores")
