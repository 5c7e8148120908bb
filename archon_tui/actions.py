"""Every action there is, declared once.

Key bindings, footer, help, command palette, the `[tui.keys]` table of archon.toml and the table in
docs/dashboard.md are all made from `ACTIONS`. A screen carries an action out in its method
`do_<id with underscores>`; it may say why not now in `why_not_<id>` and what to ask first in
`question_<id>`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from core.errors import ConfigurationError

SCREENS = ("repos", "plan", "run", "lag", "cache", "cost", "events", "health", "results")
LISTS = SCREENS

# How keys are written where people read them, when not as Textual names them.
_SHOWN = {
    "question_mark": "?",
    "slash": "/",
    "colon": ":",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "plus": "+",
    "minus": "-",
    "escape": "esc",
    "pagedown": "pgdn",
    "pageup": "pgup",
    "delete": "del",
}
_NAMED = {shown: name for name, shown in _SHOWN.items()}


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a person can do.

    `keys` are comma-separated, empty for the palette only. `where` names the screens it belongs to, none
    for all. `footer` ranks it among the hints of the bottom line (1 comes first), 0 leaves it out.
    `writes` is refused under --read-only.
    """

    id: str
    keys: str
    title: str
    help: str
    where: tuple[str, ...] = ()
    footer: int = 0
    writes: bool = False

    @property
    def handler(self) -> str:
        """What follows `do_`, `why_not_` and `question_` in method names."""
        return self.id.replace(".", "_")

    def belongs_to(self, screen: str) -> bool:
        return not self.where or screen in self.where

    @property
    def key_names(self) -> tuple[str, ...]:
        """The keys as Textual names them."""
        return tuple(_NAMED.get(key.strip(), key.strip()) for key in self.keys.split(",") if key.strip())

    @property
    def shown_keys(self) -> tuple[str, ...]:
        """The keys as people read them."""
        return tuple(_SHOWN.get(name, name) for name in self.key_names)


ACTIONS: tuple[Action, ...] = (
    Action("go.repos", "1", "Repos", "repositories to ingest"),
    Action("go.plan", "2", "Plan", "every file with its strategy and why"),
    Action("go.run", "3", "Run", "the ingestion as it goes"),
    Action("go.lag", "4", "Lag", "how far the consumers are behind, and the verdict"),
    Action("go.cache", "5", "Cache", "object and Git caches of every agent"),
    Action("go.cost", "6", "Cost", "planned and actual cost"),
    Action("go.events", "7", "Events", "requests, results, failures and dead letters"),
    Action("go.health", "8", "Health", "the state of every backend and agent"),
    Action("go.results", "9", "Results", "what is known of every file"),
    Action("list.open", "enter", "open", "open the row under the cursor", LISTS, 1),
    Action("plan.why", "w", "why", "each strategy: feasible or not, and the reason", ("plan",), 2),
    Action("list.mark", "space", "mark", "mark or unmark the row and go on", ("plan", "events"), 3),
    Action("list.mark_shown", "a", "mark all", "mark every row shown, or none", ("plan", "events")),
    Action("plan.change", "c", "strategy", "choose the strategy of the marked files", ("plan",), 4),
    Action("plan.knobs", "o", "knobs", "inline limit, storage and Git on or off", ("plan",), 5),
    Action("plan.run", "R", "run", "publish this plan", ("plan",), 1, writes=True),
    Action("repos.add", "a", "add", "add a repository by path or Git URL", ("repos",), 2),
    Action("repos.forget", "delete", "forget", "take the row out of the recent ones", ("repos",), 4),
    Action("run.pause", "p", "pause", "hold or go on; what is in flight finishes", ("run",), 1),
    Action(
        "run.cancel", "X", "cancel", "stop the run; what was acknowledged stays", ("run",), 2, writes=True
    ),
    Action("replay.slower", "minus", "slower", "replay at half the speed", ("run",)),
    Action("replay.faster", "plus", "faster", "replay at twice the speed", ("run",)),
    Action("replay.back", "left", "back", "replay from 10 s earlier", ("run",)),
    Action("replay.ahead", "right", "ahead", "replay from 10 s later", ("run",)),
    Action("lag.group", "t", "group", "judge another consumer group", ("lag",), 2),
    Action("cache.by", "t", "order", "list entries by size or by age", ("cache",), 3),
    Action(
        "cache.warm",
        "W",
        "warm",
        "fetch a repository, or what waiting events name",
        ("cache",),
        2,
        writes=True,
    ),
    Action("cache.clear", "C", "clear", "empty a cache of this machine", ("cache",), 2, writes=True),
    Action("cost.by", "t", "group", "by strategy, project or day", ("cost",), 2),
    Action("events.kind", "t", "kind", "all, requests, results, failures or dead letters", ("events",), 2),
    Action("events.follow", "f", "follow", "keep the newest in sight", ("events",), 5),
    Action(
        "events.redrive",
        "D",
        "redrive",
        "send dead letters to their topics again",
        ("events",),
        3,
        writes=True,
    ),
    Action("results.project", "t", "project", "the next project", ("results",), 2),
    Action("results.search", "f", "search", "find words in paths and symbols", ("results",), 3),
    Action("list.filter", "slash", "filter", "show only rows that match", LISTS, 6),
    Action("list.next", "n", "next", "the next row that matches", LISTS),
    Action("list.previous", "N", "previous", "the previous row that matches", LISTS),
    Action("list.sort", "s", "sort", "sort by the next column", LISTS, 7),
    Action("list.reverse", "S", "reverse", "turn the order round", LISTS),
    Action("list.down", "j,down", "down", "one row down", LISTS),
    Action("list.up", "k,up", "up", "one row up", LISTS),
    Action("list.top", "g,home", "top", "the first row", LISTS),
    Action("list.bottom", "G,end", "bottom", "the last row", LISTS),
    Action("list.half_down", "ctrl+d,pagedown", "down half", "half a page down", LISTS),
    Action("list.half_up", "ctrl+u,pageup", "up half", "half a page up", LISTS),
    Action("app.refresh", "r", "refresh", "ask again now", footer=8),
    Action("app.export", "e", "export", "write what this screen shows to a file", footer=9),
    Action("app.copy", "y", "copy", "copy the row to the clipboard"),
    Action("app.maximise", "z", "maximise", "give the pane the whole screen, or take it back"),
    Action("app.jump", "ctrl+o", "jump", "go to a pane by its letter"),
    Action("app.back", "left_square_bracket", "back", "the screen before"),
    Action("app.forward", "right_square_bracket", "forward", "the screen after"),
    Action("app.close", "escape", "close", "close the pane, or clear the filter"),
    Action("app.palette", "ctrl+p,colon", "palette", "every action by name"),
    Action("app.theme", "", "theme", "the next colour theme"),
    Action("app.help", "question_mark,f1", "help", "what the keys do here"),
    Action("app.quit", "q,ctrl+q", "quit", "leave"),
)
BY_ID: Mapping[str, Action] = {action.id: action for action in ACTIONS}


def with_keys(keys: Mapping[str, str], actions: Sequence[Action] = ACTIONS) -> tuple[Action, ...]:
    """The actions with the keys of `[tui.keys]`: action id to comma-separated keys.

    Raises `ConfigurationError` for an unknown action, or a key that would mean two things on one screen.
    """
    unknown = sorted(set(keys) - {action.id for action in actions})
    if unknown:
        raise ConfigurationError(
            f"[tui.keys]: there is no action {unknown[0]}", hint="docs/dashboard-keys.md lists them"
        )
    bound = tuple(
        replace(action, keys=keys[action.id]) if action.id in keys else action for action in actions
    )
    for screen in SCREENS:
        taken: dict[str, str] = {}
        for action in bound:
            for name in action.key_names if action.belongs_to(screen) else ():
                if (other := taken.setdefault(name, action.id)) != action.id:
                    shown = _SHOWN.get(name, name)
                    raise ConfigurationError(f"[tui.keys]: {shown} is both {other} and {action.id}")
    return bound


def of_screen(actions: Iterable[Action], screen: str) -> list[Action]:
    """The actions that can be asked for on a screen."""
    return [action for action in actions if action.belongs_to(screen)]


def hints(actions: Iterable[Action], screen: str) -> list[Action]:
    """The actions of a screen's footer, in order: its own first, then those of every list, then of all."""
    shown = [action for action in of_screen(actions, screen) if action.footer]
    return sorted(shown, key=lambda action: action.footer)
