"""What the nine screens have in common: header, numbers, list keys, filter, footer, and doing actions."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message_pump import _MessagePumpMeta
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, Static

from archon_tui.actions import ACTIONS, Action, hints, of_screen
from archon_tui.background import in_background
from archon_tui.export import Export
from archon_tui.refresh import Reading, Source
from archon_tui.screens.dialogs import Confirm, Question
from archon_tui.screens.host import Host
from archon_tui.session import Session
from archon_tui.widgets.bar import Bar, Part
from archon_tui.widgets.filter_line import FilterLine
from archon_tui.widgets.line_view import LineView
from archon_tui.widgets.painted import Line
from archon_tui.widgets.row_list import RowList
from core import units
from core.errors import ArchonError

MIN_WIDTH, MIN_HEIGHT = 60, 16
READ_ONLY = "the dashboard was started with --read-only"


def bindings(screen: str) -> list[BindingType]:
    """The keys of a screen, from the registry; ids make them rebindable by `App.set_keymap`."""
    return [
        Binding(",".join(action.key_names), f"act('{action.id}')", action.title, id=action.id, show=False)
        for action in of_screen(ACTIONS, screen)
        if action.keys
    ]


class AbstractMeta(_MessagePumpMeta, ABCMeta):
    """Textual's metaclass and the one of abstract classes: a screen that leaves a method out is not made."""


class Page(Screen[None], metaclass=AbstractMeta):
    """One of the nine screens. Subclasses say what is in the body, what to ask, and do their actions."""

    NAME: ClassVar[str]
    # A screen that lists something has a filter line.
    FILTERS: ClassVar[bool] = True

    def compose(self) -> ComposeResult:
        yield Bar(id="top", classes="bar-top")
        yield Bar(id="numbers")
        yield Bar(id="live", classes="live")
        yield from self.body()
        if self.FILTERS:
            yield FilterLine()
        yield Bar(id="footer", classes="footer")
        yield Static(id="too-small", markup=False)

    @abstractmethod
    def body(self) -> Iterable[Widget]:
        """What stands between the numbers and the footer."""

    def sources(self) -> list[Source[Any]]:
        """What to ask while the screen is shown."""
        return []

    def tick(self) -> None:
        """Four times a second while the screen is shown: draw what changed."""

    def export(self) -> Export | None:
        """What `e` writes; None where there is nothing."""
        return None

    def copied(self) -> str | None:
        """What `y` copies."""
        return None

    def where(self) -> str:
        """What the header says beside the screen's name."""
        return ""

    @property
    def archon(self) -> Host:
        return cast("Host", self.app)

    @property
    def session(self) -> Session:
        return self.archon.session

    @property
    def row_list(self) -> RowList[Any] | None:
        """The list that keys go to: the focused one, or else the screen's main one."""
        if isinstance(self.focused, RowList):
            return self.focused
        return self.main_list

    @property
    def main_list(self) -> RowList[Any] | None:
        """The list that the screen is about."""
        found = self.query("RowList.main")
        return found.first(RowList) if found else None

    # Coming and going

    def on_mount(self) -> None:
        if main := self.main_list:
            main.focus()

    def on_screen_resume(self) -> None:
        sources = self.sources()
        asked = [source.ask for source in sources]
        always = (self.archon.log_source, self.archon.history_source)
        self.archon.coordinator.show([*sources, *(source for source in always if source.ask not in asked)])
        self.refresh_bars()

    def on_resize(self, event: events.Resize) -> None:
        self.archon.check_size(event.size)

    # Header, numbers, footer

    def refresh_bars(self) -> None:
        """Draw header, numbers, filter count and footer, where they changed."""
        app = self.archon
        title = [Part(" archon ", "title"), Part(f" {self.NAME}", "bold")]
        if where := self.where():
            title.append(Part(f" · {where}"))
        if self.session.read_only:
            title.append(Part(" · read-only", "warn"))
        self.query_one("#top", Bar).show(title, app.status_parts())
        self.query_one("#numbers", Bar).show(self._numbers())
        if (live := self.query_one("#live", Bar)).display:
            live.show(app.live_parts())
        self.query_one("#footer", Bar).show(*self._footer())
        self.show_count()

    def _numbers(self) -> list[Part]:
        parts: list[Part] = []
        for action in self.archon.actions:
            if action.id.startswith("go."):
                here = action.id == f"go.{self.NAME}"
                keys = action.shown_keys[0] if action.shown_keys else ""
                parts.append(Part(f" {keys}{action.title}", "title" if here else "dim", action.id))
        return parts

    def _footer(self) -> tuple[list[Part], list[Part]]:
        help_action = next(action for action in self.archon.actions if action.id == "app.help")
        last = [
            Part(f" {'/'.join(help_action.shown_keys[:1])} ", "accent", "app.help"),
            Part("help ", "", "app.help"),
        ]
        room = self.size.width - sum(len(part.text) for part in last)
        parts: list[Part] = []
        for action in hints(self.archon.actions, self.NAME):
            if not action.shown_keys:
                continue
            refused = self.why_not(action) is not None
            key = Part(f" {action.shown_keys[0]} ", "dim" if refused else "accent", action.id)
            word = Part(f"{action.title} ", "dim" if refused else "", action.id)
            if len(key.text) + len(word.text) > room:
                break
            room -= len(key.text) + len(word.text)
            parts += [key, word]
        return parts, last

    def show_count(self) -> None:
        """How many rows the filter leaves, or what is wrong with it."""
        rows = self.main_list
        if not self.FILTERS or rows is None:
            return
        line = self.query_one(FilterLine)
        if rows.query_error:
            line.show(rows.query_error, "fail")
            return
        shown, total = len(rows.rows), len(rows.rows.all)
        text = f"{shown:,} of {total:,}" if rows.filter_text else f"{total:,}"
        marked = f"{len(rows.marked):,} marked · " if rows.marked else ""
        order = ""
        if rows.sorted_by:
            order = f" · by {rows.sorted_by.title.lower()}"
        line.show(f"{marked}{text} {self.count_noun(total)}{order}")

    def count_noun(self, count: int) -> str:
        return "rows" if count != 1 else "row"

    # Actions

    async def action_act(self, action_id: str) -> None:
        """Do an action: refuse it with the reason, or ask first, or do it."""
        action = self.archon.action(action_id)
        if reason := self.why_not(action):
            self.archon.tell(f"{action.title}: {reason}", warn=True)
            return
        if question := self.question(action):
            self.app.push_screen(Confirm(question), lambda yes: self._answered(action, yes))
            return
        await self._do(action)

    def why_not(self, action: Action) -> str | None:
        """Why an action cannot be done now, in words; None where it can."""
        if action.writes and self.session.read_only:
            return READ_ONLY
        ask = self._method(f"why_not_{action.handler}")
        return cast("str | None", ask()) if ask else None

    def question(self, action: Action) -> Question | None:
        """What to ask before an action, if anything."""
        ask = self._method(f"question_{action.handler}")
        return cast("Question | None", ask()) if ask else None

    def _answered(self, action: Action, yes: bool | None) -> None:
        if yes:
            in_background(self, partial(self._do, action))

    async def _do(self, action: Action) -> None:
        if action.id.startswith("go."):
            await self.archon.go(action.id.removeprefix("go."))
            return
        do = self._method(f"do_{action.handler}")
        assert do, f"{type(self).__name__} has no do_{action.handler}"  # noqa: S101 - a test proves it
        try:
            result = do()
            if isinstance(result, Awaitable):
                await result
        except ArchonError as error:
            self.archon.fail(error)
        self.refresh_bars()

    def _method(self, name: str) -> Callable[[], Any] | None:
        found = getattr(self, name, None) or getattr(self.app, name, None)
        return cast("Callable[[], Any] | None", found)

    @on(Bar.Clicked)
    async def clicked(self, event: Bar.Clicked) -> None:
        await self.action_act(event.action)

    # Keys of every list; they scroll instead where lines to read have the focus.

    def _move(self, rows: int) -> None:
        if isinstance(self.focused, LineView):
            self.focused.scroll_relative(y=rows, animate=False)
        elif self.row_list:
            self.row_list.move_by(rows)

    def _half(self) -> int:
        if isinstance(self.focused, LineView):
            return max(1, self.focused.size.height // 2)
        return self.row_list.half_page() if self.row_list else 1

    def do_list_down(self) -> None:
        self._move(1)

    def do_list_up(self) -> None:
        self._move(-1)

    def do_list_half_down(self) -> None:
        self._move(self._half())

    def do_list_half_up(self) -> None:
        self._move(-self._half())

    def do_list_top(self) -> None:
        self._move(-(1 << 40))

    def do_list_bottom(self) -> None:
        self._move(1 << 40)

    async def do_list_open(self) -> None:
        """Subclasses open the row under the cursor."""

    def why_not_list_open(self) -> str | None:
        return None if self.row_list and self.row_list.current is not None else "there is no row"

    def do_list_mark(self) -> None:
        if self.row_list:
            self.row_list.toggle_mark()

    def do_list_mark_shown(self) -> None:
        if self.row_list:
            self.row_list.toggle_all_marks()

    def do_list_sort(self) -> None:
        if self.row_list:
            self.row_list.sort_by_next()

    def do_list_reverse(self) -> None:
        if self.row_list:
            self.row_list.turn_round()

    def set_filter(self, text: str) -> None:
        """Filter as if `text` had been typed."""
        self.query_one(FilterLine).input.value = text

    def do_list_filter(self) -> None:
        self.query_one(FilterLine).input.focus()

    async def do_list_next(self) -> None:
        await self._find(1)

    async def do_list_previous(self) -> None:
        await self._find(-1)

    async def _find(self, step: int) -> None:
        if self.row_list and not await self.row_list.find(step):
            self.archon.tell("nothing to find: / first" if not self.row_list.last_query else "no other match")

    @on(FilterLine.Changed)
    def filter_changed(self, event: FilterLine.Changed) -> None:
        if self.main_list:
            self.main_list.filter(event.query)
        self.show_count()

    @on(FilterLine.Left)
    def filter_left(self) -> None:
        if self.main_list:
            self.main_list.focus()

    @on(RowList.Arranged)
    def arranged(self) -> None:
        self.show_count()

    @on(RowList.Opened)
    async def opened(self) -> None:
        await self.action_act("list.open")

    # What every screen does alike

    def do_app_close(self) -> None:
        """Leave the filter, the maximised pane, the pane in place of the list, or the filter's effect."""
        if self.maximized:
            self.minimize()
        elif isinstance(self.focused, Input):
            self.query_one(FilterLine).clear()
            self.filter_left()
        elif self.leave_side():
            pass
        elif self.FILTERS and self.main_list and self.main_list.filter_text:
            self.query_one(FilterLine).clear()
        else:
            self.archon.do_app_back()

    def leave_side(self) -> bool:
        """Back from a side pane to the list; False where the focus is not in one."""
        body = self.query(".body")
        if body and body.first().has_class("-instead"):
            body.first().remove_class("-instead")
            if self.main_list:
                self.main_list.focus()
            return True
        if isinstance(self.focused, LineView) and self.main_list:
            self.main_list.focus()
            return True
        return False

    def show_side(self, *, focus: bool = False) -> None:
        """Show the side pane where the screen is too narrow for both; the list comes back with escape."""
        body = self.query(".body")
        if body and (focus or self.has_class("-small")):
            body.first().add_class("-instead")

    def do_app_maximise(self) -> None:
        if self.maximized:
            self.minimize()
        elif self.focused:
            self.maximize(self.focused)

    def do_app_refresh(self) -> None:
        self.archon.coordinator.again()

    def why_not_app_export(self) -> str | None:
        return None if self.export() else "there is nothing to export here"

    def do_app_export(self) -> None:
        if export := self.export():
            self.archon.ask_export(export)

    def why_not_app_copy(self) -> str | None:
        return None if self.copied() else "there is nothing to copy here"

    def do_app_copy(self) -> None:
        if text := self.copied():
            self.archon.copy_text(text)


def state_line(reading: Reading[Any], now: float, noun: str) -> Line:
    """What a screen says of its source: live, stale with the age, or why there is nothing."""
    if reading.error is None:
        return [(f"asking {noun} …", "dim")] if reading.taken_at is None else []
    age = reading.age(now)
    words = (
        [("✗ ", "fail"), (reading.error, "fail")]
        if age is None
        else [
            ("◌ ", "dim"),
            (f"stale, {units.duration(age)} old: {reading.error}", "dim"),
        ]
    )
    return [*words, *([(f" ({reading.hint})", "dim")] if reading.hint else [])]
