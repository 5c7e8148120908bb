"""What is watched whichever screen is shown: the group's lag, the fleet, the history."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archon_tui.backends import Backends
    from core.fleet import Member
    from core.history.store import HistoryTotals
    from core.log.lag import GroupReport, LagWindow


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at the log: the judged group, the agents, and the other groups' names."""

    report: GroupReport
    fleet: tuple[Member, ...]
    groups: tuple[str, ...]


class LagWatch:
    """Looks at the log, and keeps each group's window so that verdicts and sparklines have a past."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self.group = backends.settings.log.group
        self._windows: dict[str, LagWindow] = {}

    async def look(self) -> Seen:
        """One look. Raises what the log raises."""
        from core.fleet import owners, read_fleet
        from core.log.lag import LagWindow

        log = await self._backends.log()
        group = self.group
        # A group that has committed nothing yet is judged by the topics it is meant to read.
        places, fleet, groups = await asyncio.gather(log.lag(group), read_fleet(log), log.groups())
        if not places and group == self._backends.settings.log.group:
            places = await log.lag(group, self._backends.settings.log.topics)
        window = self._windows.setdefault(group, LagWindow(group))
        window.add(places, self._backends.clock())
        rate = sum(member.status.files_per_s for member in fleet if not member.is_stale)
        if rate > 0:
            self._backends.files_per_s = rate
        names = tuple(sorted({*groups, self._backends.settings.log.group}))
        return Seen(window.report(owners(fleet, group)), tuple(fleet), names)


class HistoryWatch:
    """Keeps the history of how files were delivered up to date while the dashboard is open.

    On Kafka the agents' halves come by topic; on the embedded log whoever consumes writes them himself.
    """

    def __init__(self, backends: Backends, *, read_only: bool) -> None:
        self._backends = backends
        self._joins = not (read_only or backends.consumes_here)

    async def look(self) -> HistoryTotals | None:
        """Take over what is new, and count; None where none is kept. Raises what log and history raise."""
        if not self._backends.settings.history.enabled:
            return None
        history = await self._backends.history()
        if self._joins:
            from core.history.observing import sync

            await sync(await self._backends.log(), history)
        return await history.totals()
