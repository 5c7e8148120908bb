"""What the screens need of the application, and no more: they know it by this alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from textual.geometry import Size

from archon_tui.actions import Action
from archon_tui.export import Export
from archon_tui.refresh import Coordinator, Reading, Source
from archon_tui.session import Session
from archon_tui.watch import LagWatch, Seen
from archon_tui.widgets.bar import Part

if TYPE_CHECKING:
    from core.history.store import HistoryTotals


class Host(Protocol):
    """The application under the screens."""

    session: Session
    actions: Sequence[Action]
    coordinator: Coordinator
    lag_watch: LagWatch
    log_source: Source[Seen]
    history_source: Source[HistoryTotals | None]
    log_reading: Reading[Seen]

    @property
    def seen(self) -> Seen | None:
        """The last look at the log."""
        ...

    def action(self, action_id: str) -> Action:
        """An action with its keys as configured."""
        ...

    async def go(self, name: str, *, remember: bool = True) -> None:
        """Show a screen."""
        ...

    def do_app_back(self) -> None:
        """Show the screen before."""
        ...

    def tell(self, text: str, *, warn: bool = False) -> None:
        """A word to the person, for a few seconds. `text` may come from anywhere."""
        ...

    def fail(self, error: Exception) -> None:
        """An error that ended something the person asked for."""
        ...

    def copy_text(self, text: str) -> None:
        """Copy what can be pasted without harm."""
        ...

    def ask_export(self, export: Export) -> None:
        """Ask for the file, write, and say where."""
        ...

    def seen_told(self, reading: Reading[Seen]) -> None:
        """A look at the log came in, or failed."""
        ...

    def status_parts(self) -> list[Part]:
        """The header's right end."""
        ...

    def live_parts(self) -> list[Part]:
        """What large terminals show of lag, agents and run on every screen."""
        ...

    def check_size(self, size: Size) -> None:
        """Say so where the terminal is too small to show anything."""
        ...
