"""The command palette's entries: every action of the screen, and of the others where it would go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from archon_tui.actions import Action, of_screen
from archon_tui.screens.page import Page


class Paged(Protocol):
    """An application that shows a page."""

    @property
    def page(self) -> Page: ...


class ActionProvider(Provider):
    """Finds actions by name and help."""

    @property
    def _page(self) -> Page:
        return cast("Paged", self.app).page

    def _entries(self) -> list[tuple[Action, str, str]]:
        page = self._page
        entries = []
        for action in of_screen(page.archon.actions, page.NAME):
            if action.id == "app.palette":
                continue
            reason = page.why_not(action)
            keys = "/".join(action.shown_keys)
            name = f"{action.title}: {action.help}" + (f"  [{keys}]" if keys else "")
            entries.append((action, name, f"not now: {reason}" if reason else ""))
        return entries

    async def discover(self) -> Hits:
        for action, name, reason in self._entries():
            yield DiscoveryHit(Content(name), self._run(action), text=name, help=reason or None)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for action, name, reason in self._entries():
            if (score := matcher.match(name)) > 0:
                yield Hit(score, matcher.highlight(name), self._run(action), text=name, help=reason or None)

    def _run(self, action: Action) -> Callable[[], Awaitable[None]]:
        page = self._page

        async def run() -> None:
            await page.action_act(action.id)

        return run
