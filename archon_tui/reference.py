"""The keys of the dashboard as a document, made from the registry."""

from __future__ import annotations

from collections.abc import Sequence

from archon_tui.actions import ACTIONS, LISTS, Action


def markdown(actions: Sequence[Action] = ACTIONS) -> str:
    """Every action with its keys, where it works, and its name in `[tui.keys]`."""
    lines = [
        "# Keys of the dashboard",
        "",
        "Generated from the action registry by `make docs`. Footer, help (`?`) and palette (`:`) come from",
        "it too. Another key is set in `archon.toml`; a key that would mean two things is refused:",
        "",
        "```toml",
        "[tui.keys]",
        '"plan.run" = "f5,R"',
        '"app.quit" = "Q"',
        "```",
        "",
        "| keys | does | where | name |",
        "|---|---|---|---|",
    ]
    for action in actions:
        keys = " ".join(f"`{key}`" for key in action.shown_keys) or "palette"
        where = "lists" if action.where == LISTS else ", ".join(action.where) or "everywhere"
        refused = "; refused under `--read-only`" if action.writes else ""
        lines.append(f"| {keys} | {action.help}{refused} | {where} | `{action.id}` |")
    return "\n".join(lines) + "\n"
