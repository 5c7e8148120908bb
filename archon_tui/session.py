"""What the screens share: the backends, the chosen repository, its plan, the run or the replay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from archon_tui.backends import Backends
from archon_tui.chosen import Chosen
from core.settings import Settings

if TYPE_CHECKING:
    from archon_tui.planning import PlanWork
    from archon_tui.replay import Replay
    from archon_tui.running import RunWork


class Session(Backends):
    """One sitting at the dashboard."""

    def __init__(
        self,
        settings: Settings,
        *,
        roots: tuple[Path, ...] = (),
        read_only: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(settings, clock=clock, now=now)
        self.roots = roots
        self.read_only = read_only
        self.chosen: Chosen | None = None
        self.plan: PlanWork | None = None
        self.run: RunWork | None = None
        self.replay: Replay | None = None

    def choose(self, chosen: Chosen) -> None:
        """Make a repository the one that Plan and Run are about."""
        self.chosen = chosen

    async def close(self) -> None:
        """End the run and the plan, then the backends."""
        await asyncio.gather(*(work.close() for work in (self.run, self.plan) if work is not None))
        await super().close()
