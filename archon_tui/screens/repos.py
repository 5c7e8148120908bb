"""Repos: what can be ingested on this machine, and what was."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from textual import on
from textual.containers import Horizontal
from textual.widget import Widget

from archon_tui.background import in_background
from archon_tui.chosen import Chosen, chosen, whole, wrong_reference, wrong_source
from archon_tui.export import Export, table
from archon_tui.filters import Fields
from archon_tui.models.repos import Recent, Repo, discover, look
from archon_tui.screens.dialogs import Ask, Field
from archon_tui.screens.page import Page, bindings
from archon_tui.text import shares
from archon_tui.widgets.line_view import LineView
from archon_tui.widgets.painted import Line, Piece
from archon_tui.widgets.row_list import Column, RowList
from core import units

if TYPE_CHECKING:
    from core.journal import Journal

COLUMNS: tuple[Column[Repo], ...] = (
    Column(
        "name", "REPOSITORY", 16, lambda repo: (repo.name, "bold"), lambda repo: repo.name.lower(), flex=1
    ),
    Column("branch", "BRANCH", 12, lambda repo: (_branch(repo), "dim" if not repo.branch else ""), drop=2),
    Column("commit", "COMMIT", 8, lambda repo: (repo.commit[:8] if repo.commit else "–", "dim"), drop=4),
    Column("dirty", "STATE", 9, lambda repo: _state(repo), lambda repo: repo.dirty is not True),
    Column(
        "files",
        "FILES",
        8,
        lambda repo: (units.count(repo.files), ""),
        lambda repo: -1 if repo.files is None else repo.files,
        right=True,
        descending=True,
    ),
    Column(
        "language", "LANGUAGE", 12, lambda repo: (_language(repo), ""), lambda repo: _language(repo), drop=3
    ),
    Column(
        "last",
        "LAST INGESTION",
        22,
        lambda repo: _last(repo),
        lambda repo: _last_key(repo),
        drop=1,
        descending=True,
    ),
)
FIELDS: Fields[Repo] = Fields(
    text=lambda repo: f"{repo.name} {repo.where}",
    named={
        "branch": lambda repo: repo.branch or "",
        "lang": lambda repo: _language(repo),
        "state": lambda repo: _state(repo)[0].split(" ", 1)[-1],
    },
)
HELP = (
    "Repositories under the paths that archon-tui was started with, and those used before. A dirty one has"
    " tracked files that differ from its commit. Enter opens the plan: each file, how it travels, why."
)


class ReposPage(Page):
    """Pick what to ingest."""

    NAME = "repos"
    BINDINGS = bindings(NAME)

    def body(self) -> Iterable[Widget]:
        with Horizontal(classes="body split"):
            main: RowList[Repo] = RowList(
                COLUMNS,
                FIELDS,
                id="repos",
                empty="no repository here: a adds one by path or Git URL",
                help_text=HELP,
                identity=lambda repo: repo.where,
            )
            main.add_class("main")
            yield main
            side = LineView("repository", id="repo")
            side.add_class("side")
            yield side

    def on_mount(self) -> None:
        super().on_mount()
        self._stopped = threading.Event()
        self._recent = Recent(self.session.data_file("recent.json"))
        self._repos: dict[str, Repo] = {}
        self._shown: object = None
        in_background(self, self._survey, group="survey", only=True)

    def on_unmount(self) -> None:
        self._stopped.set()

    @property
    def repos(self) -> RowList[Repo]:
        return self.query_one("#repos", RowList)

    def count_noun(self, count: int) -> str:
        return "repositories" if count != 1 else "repository"

    def tick(self) -> None:
        self._show_detail()

    def do_app_refresh(self) -> None:
        super().do_app_refresh()
        for repo in self._repos.values():
            repo.looked = False
        in_background(self, self._survey, group="survey", only=True)

    async def _survey(self) -> None:
        """Find repositories, then look at one after another, in a thread that can be told to stop."""
        self._stopped.set()
        self._stopped = stopped = threading.Event()
        for used in self._recent.read():
            self._add(used, recent=True)
        self._show_all()
        found = iter(discover(self.session.roots, stopped.is_set))
        while (path := await asyncio.to_thread(next, found, None)) is not None:
            self._add(chosen(str(path)))
        self._show_all()
        from core.journal import journals

        last: dict[str, Journal] = {}
        for journal in await asyncio.to_thread(journals, self.session.journal_dir):
            last.setdefault(journal.header.path, journal)
        for repo in list(self._repos.values()):
            repo.last = last.get(repo.where)
        self.repos.repaint()
        for repo in list(self._repos.values()):
            if not repo.looked and not repo.is_url and not stopped.is_set():
                await asyncio.to_thread(look, repo, stopped.is_set)
                self._shown = None
                self.repos.repaint()

    def _add(self, found: Chosen, *, recent: bool = False) -> None:
        repo = self._repos.setdefault(found.where, Repo(found))
        if recent:
            repo.chosen = found  # with the credential it was used with
        repo.recent = repo.recent or recent
        repo.looked = repo.looked or repo.is_url

    def _show_all(self) -> None:
        if len(self._repos) != len(self.repos.rows.all):
            self.repos.show(self._repos.values())

    # Actions

    async def do_list_open(self) -> None:
        repo = self.repos.current
        if repo is not None:
            self.session.choose(repo.chosen)
            self._remember(repo.chosen)
            await self.archon.go("plan")

    def _remember(self, used: Chosen) -> None:
        if not self.session.read_only:
            self._recent.add(used)

    async def _go_to(self, where: str) -> None:
        await self.repos.arranged()
        rows = self.repos.rows
        for place in range(len(rows)):
            if rows[place].where == where:
                self.repos.move_to(place)
                return

    def do_repos_add(self) -> None:
        def answered(texts: tuple[str, ...] | None) -> None:
            if texts:
                added = chosen(whole(texts[0]), texts[1] or None)
                self._add(added, recent=True)
                self._remember(added)
                self._show_all()
                in_background(self, partial(self._go_to, added.where))
                in_background(self, self._survey, group="survey", only=True)

        self.app.push_screen(
            Ask(
                Field(
                    "A repository: a directory, or the URL of a Git repository",
                    partial(wrong_source, self.session.settings),
                ),
                Field(
                    "Where the secret for its Git host is: env:NAME or file:/path, never the secret",
                    wrong_reference,
                    optional=True,
                ),
            ),
            answered,
        )

    def why_not_repos_forget(self) -> str | None:
        repo = self.repos.current
        if repo is None or not repo.recent:
            return "it is not one of the recent ones"
        return None

    def do_repos_forget(self) -> None:
        repo = self.repos.current
        if repo is not None:
            self._recent.forget(repo.where)
            del self._repos[repo.where]
            self.repos.show(self._repos.values())

    def copied(self) -> str | None:
        return self.repos.current.where if self.repos.current else None

    def export(self) -> Export | None:
        return table("repos", self.repos.rows.all, _document)

    # Detail

    @on(RowList.Highlighted)
    def highlighted(self) -> None:
        self._show_detail()

    def _show_detail(self) -> None:
        repo = self.repos.current
        view = self.query_one("#repo", LineView)
        state = (repo and repo.where, repo and repo.looked, view.size.width)
        if state != self._shown:
            self._shown = state
            view.show(detail(repo, max(20, view.size.width - 2)) if repo else [], from_top=True)


def detail(repo: Repo, width: int) -> list[Line]:
    """A repository at a glance, `width` cells wide."""
    lines: list[Line] = [[(repo.name, "title")], [(repo.where, "dim")], []]
    if repo.problem:
        return [*lines, [("✗ ", "fail"), (repo.problem, "fail")]]
    if repo.is_url:
        return [*lines, [("a Git URL: its files are listed when the plan is made", "dim")]]
    if not repo.looked:
        return [*lines, [("looking …", "dim")]]
    if repo.is_git:
        lines.append([("branch  ", "dim"), (_branch(repo), ""), (f"  {(repo.commit or '–')[:12]}", "dim")])
    else:
        lines.append([("a plain directory: .gitignore files are honoured, nothing else is known", "dim")])
    lines.append([("state   ", "dim"), _state(repo)])
    lines.append([("files   ", "dim"), (units.count(repo.files), "")])
    if repo.languages:
        lines += [[], _language_bar(repo, width)]
        total = sum(repo.languages.values())
        for place, (language, count) in enumerate(repo.languages.most_common(8)):
            share = units.percent(count, total)
            lines.append(
                [
                    ("█ ", _PAINT[place % len(_PAINT)]),
                    (f"{language:<14}", ""),
                    (f"{count:>8,}  {share}", "dim"),
                ]
            )
    lines.append([])
    if repo.last is None:
        lines.append([("never ingested from here", "dim")])
    else:
        lines.append([("last    ", "dim"), (repo.last.header.started_at.strftime("%Y-%m-%d %H:%M UTC"), "")])
        lines.append([("        ", ""), _last(repo)])
    return lines


_PAINT = ("inline", "ok", "git", "storage", "warn", "accent", "literal", "dim")


def _language_bar(repo: Repo, width: int) -> Line:
    top = repo.languages.most_common(8)
    other = sum(repo.languages.values()) - sum(count for _, count in top)
    cells = shares([*(count for _, count in top), other], width)
    return [
        ("█" * cell, _PAINT[place % len(_PAINT)] if place < 8 else "dim") for place, cell in enumerate(cells)
    ]


def _branch(repo: Repo) -> str:
    return repo.branch or ("detached" if repo.commit else "–")


def _state(repo: Repo) -> Piece:
    if repo.problem:
        return ("✗ error", "fail")
    if repo.is_url:
        return ("– remote", "dim")
    if not repo.looked:
        return ("… looking", "dim")
    if not repo.is_git:
        return ("– no git", "dim")
    if repo.dirty is None:
        return ("– unknown", "dim")
    return ("! dirty", "warn") if repo.dirty else ("✓ clean", "ok")


def _language(repo: Repo) -> str:
    return repo.languages.most_common(1)[0][0] if repo.languages else "–"


def _last_key(repo: Repo) -> str:
    return repo.last.header.started_at.isoformat() if repo.last else ""


def _last(repo: Repo) -> Piece:
    if repo.last is None:
        return ("–", "dim")
    day = repo.last.header.started_at.strftime("%d %b %H:%M")
    outcome = repo.last.outcome
    if outcome is None:
        return (f"✗ {day} broke off", "fail")
    word = str(outcome.get("state", "done"))
    style = {"done": "ok", "published": "ok", "cancelled": "warn"}.get(word, "fail")
    return (f"{'✓' if style == 'ok' else '!' if style == 'warn' else '✗'} {day} {word}", style)


def _document(repo: Repo) -> dict[str, object]:
    return {
        "path": repo.where,
        "name": repo.name,
        "branch": repo.branch,
        "commit": repo.commit,
        "dirty": repo.dirty,
        "files": repo.files,
        "languages": dict(repo.languages),
        "last_ingestion": _last_key(repo) or None,
        "outcome": repo.last.outcome if repo.last else None,
        "problem": repo.problem,
    }
