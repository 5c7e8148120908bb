"""Settings, clock, and the log, index and history that are opened when somebody first needs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from core.settings import Settings

if TYPE_CHECKING:
    from core.history.store import History
    from core.log.base import EventLog
    from core.results.index import ResultsIndex

CLOSE_S = 0.3


class Backends:
    """Opens backends when a screen first needs them, and closes them all at the end."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.now = now
        # Files a second that the consumers were last seen to analyse; None where never seen.
        self.files_per_s: float | None = None
        self._stack = AsyncExitStack()
        # One for each: a log that does not answer holds nothing else up.
        self._opening_log = asyncio.Lock()
        self._opening_index = asyncio.Lock()
        self._opening_history = asyncio.Lock()
        self._log: EventLog | None = None
        self._index: ResultsIndex | None = None
        self._history: History | None = None

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

    async def log(self) -> EventLog:
        """The event log, opened at the first call that succeeds. Raises what opening raises."""
        async with self._opening_log:
            if self._log is None:
                await _import_stores()
                from core.assembly.stores import open_log

                self._log = await self._stack.enter_async_context(open_log(self.settings))
            return self._log

    async def index(self) -> ResultsIndex:
        """The results index. Raises what opening raises."""
        async with self._opening_index:
            if self._index is None:
                await _import_stores()
                from core.assembly.stores import open_index

                self._index = await self._stack.enter_async_context(open_index(self.settings))
            return self._index

    async def history(self) -> History:
        """The history of how files were delivered. Raises what opening raises."""
        async with self._opening_history:
            if self._history is None:
                await _import_stores()
                from core.assembly.stores import open_history

                self._history = await self._stack.enter_async_context(open_history(self.settings))
            return self._history

    async def close(self) -> None:
        """Close what was opened, within a limit: a dead backend is left."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._stack.aclose()
        except TimeoutError:
            return


async def _import_stores() -> None:
    """Import what opens stores beside the loop: it is large."""
    await asyncio.to_thread(import_module, "core.assembly.stores")
