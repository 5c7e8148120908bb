"""The application: modes, keys, themes, the clock that drives refreshing. Screens do the rest."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import App
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES
from textual.widgets import Static

from archon_tui.actions import SCREENS, Action, of_screen, with_keys
from archon_tui.background import in_background
from archon_tui.export import Export, content, write
from archon_tui.refresh import Coordinator, Reading, Source
from archon_tui.screens.dialogs import Ask, Field, Question
from archon_tui.screens.page import MIN_HEIGHT, MIN_WIDTH, Page
from archon_tui.session import Session
from archon_tui.themes import DARK, LIGHT, SAFE
from archon_tui.watch import HistoryWatch, LagWatch, Seen
from archon_tui.widgets.bar import Part
from core import units
from core.errors import ArchonError, ConfigurationError
from core.safety.display import display

if TYPE_CHECKING:
    from core.history.store import HistoryTotals

TICK_S = 0.25
LOG_EVERY_S = 5.0
HISTORY_EVERY_S = 30.0
# The first look may have the whole results topic to read; cut short, the next goes on from there.
HISTORY_DEADLINE_S = 120.0


def _page(name: str) -> Callable[[], Screen[Any]]:
    """Makes a screen when it is first shown: its module is imported only then."""

    def make() -> Screen[Any]:
        module = import_module(f"archon_tui.screens.{name}")
        return cast("Screen[Any]", getattr(module, f"{name.capitalize()}Page")())

    return make


def _entries() -> type[Any]:
    """The palette's entries, imported when it is first opened."""
    from archon_tui.palette import ActionProvider

    return ActionProvider


class ArchonApp(App[None], inherit_bindings=False):
    """The dashboard over one session."""

    CSS_PATH = "archon.tcss"
    TITLE = "archon"
    HORIZONTAL_BREAKPOINTS = [(0, "-small"), (110, "-medium"), (180, "-large")]  # noqa: RUF012 - as Textual's
    MODES: ClassVar[dict[str, Any]] = {name: _page(name) for name in SCREENS}
    DEFAULT_MODE = "repos"
    COMMANDS: ClassVar[set[Any]] = {_entries}
    COMMAND_PALETTE_BINDING = "f24"  # the registry's keys open it
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "leave", show=False, priority=True)]
    ESCAPE_TO_MINIMIZE = False
    ENABLE_COMMAND_PALETTE = True

    def __init__(self, session: Session, *, first: str = "repos") -> None:
        """Raises `ConfigurationError` for a theme or keys of the settings that make no sense."""
        super().__init__()
        self.session = session
        self.actions = with_keys(session.settings.tui.keys)
        self._by_id = {action.id: action for action in self.actions}
        self.coordinator = Coordinator(clock=session.clock)
        self.coordinator.paused = True  # until the first picture: what answers is slow to import
        self.lag_watch = LagWatch(session)
        self.log_source: Source[Seen] = Source(
            "the log", self.lag_watch.look, self.seen_told, every_s=LOG_EVERY_S
        )
        self.history_source: Source[HistoryTotals | None] = Source(
            "the history",
            HistoryWatch(session, read_only=session.read_only).look,
            lambda _reading: None,
            every_s=HISTORY_EVERY_S,
            deadline_s=HISTORY_DEADLINE_S,
        )
        self.visited: list[str] = [first]
        self.visiting = 0
        self.first = first
        self.log_reading: Reading[Seen] = Reading()
        self.register_theme(SAFE)
        if session.settings.tui.theme not in {*BUILTIN_THEMES, SAFE.name}:
            raise ConfigurationError(
                f"there is no theme {session.settings.tui.theme}",
                hint=f"one of {', '.join(sorted({*BUILTIN_THEMES, SAFE.name}))}",
            )
        self.theme = session.settings.tui.theme
        self.set_keymap(session.settings.tui.keys)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return DARK if self.current_theme.dark else LIGHT

    async def on_mount(self) -> None:
        if self.first != self.DEFAULT_MODE:
            await self.switch_mode(self.first)
        self.set_interval(TICK_S, self.tick)
        self.call_after_refresh(self.tick)

    def tick(self) -> None:
        """What happens four times a second, and nothing that costs while nothing changes."""
        if not self.screen_stack:
            return  # between two screens
        page = self.page
        self.coordinator.paused = self.screen is not page
        self.coordinator.tick()
        if self.screen is page and page.is_mounted and page.display:  # one that goes is not displayed
            page.tick()
            page.refresh_bars()

    @property
    def page(self) -> Page:
        """The screen under whatever dialogs are open."""
        return cast("Page", self.screen_stack[0])

    def action(self, action_id: str) -> Action:
        """An action with its keys as configured."""
        return self._by_id[action_id]

    # Getting about

    async def go(self, name: str, *, remember: bool = True) -> None:
        """Show a screen."""
        if remember and name != self.current_mode:
            self.visited = [*self.visited[: self.visiting + 1], name]
            self.visiting = len(self.visited) - 1
        await self.switch_mode(name)

    def do_app_back(self) -> None:
        self._travel(-1)

    def do_app_forward(self) -> None:
        self._travel(1)

    def _travel(self, step: int) -> None:
        place = self.visiting + step
        if 0 <= place < len(self.visited):
            self.visiting = place
            in_background(self, partial(self.go, self.visited[place], remember=False))

    def check_size(self, size: Size) -> None:
        """Say so where the terminal is too small to show anything."""
        small = size.width < MIN_WIDTH or size.height < MIN_HEIGHT
        page = self.page
        page.set_class(small, "-too-small")
        if small:
            page.query_one("#too-small", Static).update(
                f"archon needs at least {MIN_WIDTH}×{MIN_HEIGHT} (this is {size.width}×{size.height})"
            )

    # Telling

    def tell(self, text: str, *, warn: bool = False) -> None:
        """A word to the person, for a few seconds. `text` may come from anywhere."""
        self.notify(
            display(text, limit=300),
            severity="warning" if warn else "information",
            markup=False,
            timeout=6 if warn else 3,
        )

    def fail(self, error: Exception) -> None:
        """An error that ended something the person asked for."""
        hint = error.hint if isinstance(error, ArchonError) and error.hint else ""
        self.tell(f"{error}{f' ({hint})' if hint else ''}", warn=True)

    def copy_text(self, text: str) -> None:
        """Copy what can be pasted without harm: control characters are copied as shown."""
        safe = display(text, limit=None)
        self.copy_to_clipboard(safe)
        self.tell(f"copied {safe}")

    # The log's state, in the header of every screen

    def seen_told(self, reading: Reading[Seen]) -> None:
        """A look at the log came in, or failed."""
        self.log_reading = reading

    @property
    def seen(self) -> Seen | None:
        """The last look at the log."""
        return self.log_reading.value

    def status_parts(self) -> list[Part]:
        """The header's right end: which log, and whether what is shown is live."""
        kind = self.session.log_kind
        reading, now = self.log_reading, self.session.clock()
        if reading.is_live:
            return [Part(f"{kind} "), Part("● live ", "ok")]
        if reading.error is None:
            return [Part(f"{kind} "), Part("… ", "dim")]
        age = reading.age(now)
        if age is None:
            return [Part(f"{kind} "), Part("✗ not reached ", "fail")]
        return [Part(f"{kind} "), Part(f"◌ stale {units.duration(age)} ", "warn")]

    def live_parts(self) -> list[Part]:
        """What large terminals show of lag, agents and run on every screen."""
        from archon_tui.models.strip import strip

        shown = self.session.replay or self.session.run
        run = (shown.name, shown.state, shown.model) if shown else None
        return strip(self.seen, run, stale=not self.log_reading.is_live)

    # Actions of every screen

    def do_app_help(self) -> None:
        from archon_tui.screens.help import Help

        page = self.page
        about = getattr(page.focused, "help_text", "")
        actions = [(action, page.why_not(action)) for action in of_screen(self.actions, page.NAME)]
        self.push_screen(Help(page.NAME.capitalize(), actions, about, page.FILTERS))

    def do_app_palette(self) -> None:
        self.action_command_palette()

    def do_app_theme(self) -> None:
        names = sorted(self.available_themes)
        self.theme = names[(names.index(self.theme) + 1) % len(names)]
        self.tell(f"theme {self.theme}")

    def do_app_jump(self) -> None:
        from archon_tui.screens.jump import Jump

        self.push_screen(Jump(self.page))

    def question_app_quit(self) -> Question | None:
        run = self.session.run
        if run is None or not run.is_active:
            return None
        return Question(
            "A run is going on. Leave and stop it?",
            [[("What the log acknowledged stays; the rest is published by the next run.", "")]],
            "leave",
        )

    async def do_app_quit(self) -> None:
        await self.action_leave()

    async def action_leave(self) -> None:
        """Leave now, whatever runs; `starting` closes the session when the terminal is given back."""
        self.exit()

    @property
    def crash(self) -> Exception | None:
        """The error that ended the application, where nobody caught it."""
        return self._exception

    def _fatal_error(self) -> None:
        """Leave without Textual's traceback, which shows the values of variables: secrets among them."""
        self._close_messages_no_wait()

    def ask_export(self, export: Export) -> None:
        """Ask for the file, write, and say where."""

        picture = self.export_screenshot()

        def check(text: str) -> str | None:
            file = Path(text)
            if file.suffix.lower() not in (".json", ".csv", ".svg"):
                return "the name ends with .json, .csv or .svg"
            try:
                return "there is such a file already" if file.expanduser().exists() else None
            except (OSError, RuntimeError, ValueError):
                return "it cannot be written there"

        async def save(text: str) -> None:
            try:
                if self.is_web:  # the person's disk is not this machine's
                    kind = Path(text).suffix.removeprefix(".").lower()
                    file = io.StringIO(content(export, kind, picture))
                    self.deliver_text(file, save_filename=Path(text).name)
                    return
                written = await asyncio.to_thread(write, export, Path(text), picture)
            except ArchonError as error:
                self.fail(error)
            else:
                self.tell(f"wrote {written}")

        def answered(texts: tuple[str, ...] | None) -> None:
            if texts:
                in_background(self, partial(save, texts[0]))

        stamp = self.session.now().strftime("%Y%m%d-%H%M%S")
        default = f"archon-{export.name}-{stamp}.json"
        self.push_screen(Ask(Field("Write to (.json, .csv or .svg)", check, default)), answered)
