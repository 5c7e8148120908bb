"""What the keys do here: every action of the screen, with the reason where it cannot be done now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from archon_tui.actions import Action
from archon_tui.screens.dialogs import Dialog
from archon_tui.text import fit, wrap
from archon_tui.widgets.line_view import LineView
from archon_tui.widgets.painted import Line

FILTER_HELP = (
    "word            anywhere in the row; a capital makes it exact",
    "!word           rows without it",
    ">100KB  <=1MB   by size",
    "strategy:git    a field that begins so; a wrong one lists what there is",
)


class Help(Dialog[None]):
    """The keys of a screen, made from the registry."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,question_mark,f1", "leave", show=False),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
        Binding("ctrl+d,pagedown,space", "scroll(10)", show=False),
        Binding("ctrl+u,pageup", "scroll(-10)", show=False),
    ]

    def __init__(
        self, screen: str, actions: Sequence[tuple[Action, str | None]], about: str, filters: bool
    ) -> None:
        """`actions` with why each cannot be done now; `about` is the focused widget's own help."""
        super().__init__()
        self.lines = lines_of(screen, actions, about, filters)

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield LineView()

    def on_mount(self) -> None:
        self.query_one(LineView).show(self.lines)

    def action_scroll(self, lines: int) -> None:
        self.query_one(LineView).scroll_relative(y=lines, animate=False)


def lines_of(
    screen: str, actions: Sequence[tuple[Action, str | None]], about: str, filters: bool
) -> list[Line]:
    """The help of a screen as lines."""
    lines: list[Line] = []
    if about:
        lines += [[(text, "")] for text in wrap(about, 84)]
        lines.append([])
    groups = (
        (f"On {screen}", lambda action: bool(action.where) and not action.id.startswith("list.")),
        ("In lists", lambda action: action.id.startswith("list.")),
        ("Everywhere", lambda action: not action.where and not action.id.startswith("go.")),
        ("Screens", lambda action: action.id.startswith("go.")),
    )
    for title, belongs in groups:
        members = [(action, reason) for action, reason in actions if belongs(action) and action.keys]
        if not members:
            continue
        lines.append([(title, "title")])
        for action, reason in members:
            keys = fit("  ".join(action.shown_keys), 16)
            line: list[tuple[str, str]] = [("  ", ""), (keys, "accent"), (action.help, "")]
            if reason:
                line.append((f"  – not now: {reason}", "dim"))
            lines.append(line)
        lines.append([])
    if filters:
        lines.append([("Filters", "title")])
        lines += [[(f"  {text}", "")] for text in FILTER_HELP]
    return lines
