"""Results: what is known of every file, by project; search, sort, look into one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from textual import on
from textual.containers import Horizontal
from textual.widget import Widget

from archon_tui.background import in_background
from archon_tui.export import Export, table
from archon_tui.models.results import FIELDS, document, record_lines
from archon_tui.screens.dialogs import Ask, Field
from archon_tui.screens.page import Page, bindings
from archon_tui.widgets.line_view import LineView
from archon_tui.widgets.painted import Line
from archon_tui.widgets.row_list import Column, RowList
from core import units
from core.errors import ArchonError
from core.results.index import ResultsIndex
from core.results.records import IndexedFile

SEARCHED = 500
HELP = (
    "The records of the local index. / filters what is shown; f searches all paths and symbol names. s sorts"
    " by complexity and more. CC is the largest cyclomatic complexity of a function in the file."
)
COLUMNS: tuple[Column[IndexedFile], ...] = (
    Column("path", "FILE", 20, lambda row: (row.path, ""), lambda row: row.path, flex=1, keep_end=True),
    Column(
        "lang", "LANG", 10, lambda row: (row.language or "–", "dim"), lambda row: row.language or "￿", drop=2
    ),
    Column(
        "size",
        "SIZE",
        9,
        lambda row: (units.size(row.size_bytes), ""),
        lambda row: row.size_bytes,
        right=True,
        drop=3,
        descending=True,
    ),
    Column(
        "code",
        "CODE",
        7,
        lambda row: (units.count(row.code_lines), ""),
        lambda row: -1 if row.code_lines is None else row.code_lines,
        right=True,
        descending=True,
    ),
    Column(
        "symbols",
        "SYMS",
        5,
        lambda row: (f"{row.symbols:,}", ""),
        lambda row: row.symbols,
        right=True,
        drop=1,
        descending=True,
    ),
    Column(
        "complexity",
        "CC",
        4,
        lambda row: (units.count(row.max_complexity), "warn" if (row.max_complexity or 0) > 10 else ""),
        lambda row: -1 if row.max_complexity is None else row.max_complexity,
        right=True,
        descending=True,
    ),
    Column(
        "quality",
        "QUALITY",
        7,
        lambda row: (
            ("–", "dim")
            if row.quality is None
            else (f"{row.quality:.2f}", "fail" if row.quality < 0.4 else "")
        ),
        lambda row: 2.0 if row.quality is None else row.quality,
        right=True,
    ),
)


class ResultsPage(Page):
    """The records of one project, or of all."""

    NAME = "results"
    BINDINGS = bindings(NAME)

    def __init__(self) -> None:
        super().__init__()
        self._project: str | None = None
        self._projects: tuple[str, ...] = ()
        self._words = ""
        self._opened: object = None

    def body(self) -> Iterable[Widget]:
        with Horizontal(classes="body split"):
            main: RowList[IndexedFile] = RowList(
                COLUMNS,
                FIELDS,
                id="records",
                empty="no records yet: 2 Plan, then R; or archon-agent run",
                help_text=HELP,
                identity=lambda row: (row.project, row.path),
            )
            main.add_class("main")
            yield main
            side = LineView(
                "record", id="record", help_text="Scores, recommendations and symbols of the file."
            )
            side.add_class("side")
            yield side

    @property
    def records(self) -> RowList[IndexedFile]:
        return self.query_one("#records", RowList)

    def where(self) -> str:
        searched = f' · "{self._words}"' if self._words else ""
        return f"{self._project or 'all projects'}{searched}"

    def count_noun(self, count: int) -> str:
        return "records" if count != 1 else "record"

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        if self._project is None and not self.records.rows.all and self.session.chosen:
            self._project = self.session.chosen.name
        self._load()

    def do_app_refresh(self) -> None:
        self._load()

    def _load(self) -> None:
        in_background(self, self._fill, group="load", only=True)

    async def _fill(self) -> None:
        """Read the records in chunks; the list shows them when the last is in."""
        try:
            index = await self.session.index()
            self._projects = tuple(item.project for item in await index.projects())
            if self._project not in self._projects:
                self._project = None
            found = await self._found(index)
            rows = [
                row
                async for row in index.query(project=self._project)
                if found is None or (row.project, row.path) in found
            ]
        except ArchonError as error:
            self.query_one("#record", LineView).show([[("✗ ", "fail"), (str(error), "fail")]])
            self.archon.fail(error)
            return
        self.records.show(rows)
        self._opened = None
        self._open()
        self.refresh_bars()

    async def _found(self, index: ResultsIndex) -> set[tuple[str, str]] | None:
        """The files that the search found; None where nothing is searched for."""
        if not self._words:
            return None
        hits = await index.search(self._words, project=self._project, limit=SEARCHED)
        return {(hit.project, hit.path) for hit in hits}

    @on(RowList.Highlighted)
    def highlighted(self) -> None:
        self._open()

    def _open(self) -> None:
        row = self.records.current
        view = self.query_one("#record", LineView)
        if row is None:
            view.show([])
        elif view.display and (row.project, row.path) != self._opened:
            self._opened = (row.project, row.path)
            in_background(self, partial(self._read, row), group="record", only=True)

    async def _read(self, row: IndexedFile) -> None:
        lines: Sequence[Line]
        try:
            stored = await (await self.session.index()).record(row.project, row.path)
            lines = record_lines(stored.intelligence()) if stored else [[("it is gone", "dim")]]
        except ArchonError as error:
            lines = [[("✗ ", "fail"), (str(error), "fail")]]
        self.query_one("#record", LineView).show(lines, from_top=True)

    # Actions

    async def do_list_open(self) -> None:
        self.show_side()
        self.query_one("#record", LineView).focus()
        self._open()

    def why_not_results_project(self) -> str | None:
        return None if self._projects else "there is no project yet"

    def do_results_project(self) -> None:
        names = (None, *self._projects)
        self._project = names[(names.index(self._project) + 1) % len(names)]
        self._load()

    def do_results_search(self) -> None:
        def answered(texts: tuple[str, ...] | None) -> None:
            if texts:
                self._words = "" if texts[0] == "*" else texts[0]
                self._load()

        title = "Words that begin in paths or symbol names (* for everything)"
        self.app.push_screen(Ask(Field(title, lambda _text: None, self._words)), answered)

    def leave_side(self) -> bool:
        if super().leave_side():
            return True
        if self._words:
            self._words = ""
            self._load()
            return True
        return False

    def copied(self) -> str | None:
        return self.records.current.path if self.records.current else None

    def export(self) -> Export | None:
        return table("results", self.records.rows.all, document)
