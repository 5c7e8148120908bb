"""Plan: every file with its strategy and why; change a choice and see at once what moves."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from functools import partial

from textual import on
from textual.containers import Horizontal
from textual.widget import Widget

from archon_tui.background import in_background
from archon_tui.chosen import Chosen
from archon_tui.export import Export
from archon_tui.models.folders import Folder, Folders
from archon_tui.models.plan import (
    FIELDS,
    STYLES,
    WORDS,
    PlanRow,
    cost_text,
    figures,
    why_lines,
)
from archon_tui.peek import lines_of, numbered
from archon_tui.planning import PlanWork
from archon_tui.screens.dialogs import Ask, Choice, Choose, Field, Question
from archon_tui.screens.page import Page, bindings
from archon_tui.text import LETTERS
from archon_tui.widgets.line_view import LineView
from archon_tui.widgets.painted import Line
from archon_tui.widgets.row_list import Column, RowList
from core import units
from core.errors import ArchonError
from core.events.common import ContentStrategy
from core.repository.facts import Skip
from core.settings import Settings
from core.settings.option import parse_size

HELP = (
    "Every file with the strategy that would carry it. Space marks; c chooses the strategy of the marked"
    " files, o turns a knob for all of them; what moves gets a ◆ and is counted with ▲▼ below. R publishes"
    " exactly this plan."
)
COLUMNS: tuple[Column[PlanRow], ...] = (
    Column("strategy", "S", 2, lambda row: row.badge, lambda row: row.kind),
    Column("path", "FILE", 20, lambda row: (row.path, ""), lambda row: row.path, flex=3, keep_end=True),
    Column(
        "size",
        "SIZE",
        9,
        lambda row: (units.size(row.size), "dim" if row.size is None else ""),
        lambda row: -1 if row.size is None else row.size,
        right=True,
        descending=True,
    ),
    Column(
        "lang", "LANG", 10, lambda row: (row.language or "–", "dim"), lambda row: row.language or "￿", drop=2
    ),
    Column(
        "why",
        "WHY",
        18,
        lambda row: (row.why, "warn" if row.is_fault else "dim"),
        lambda row: row.why,
        flex=2,
        drop=1,
    ),
)


class PlanPage(Page):
    """The plan of the chosen repository."""

    NAME = "plan"
    BINDINGS = bindings(NAME)

    def __init__(self) -> None:
        super().__init__()
        self._work: PlanWork | None = None
        self._taken = 0
        self._version = -1
        self._side = "peek"
        self._shown: object = None
        self._folders = Folders()

    def body(self) -> Iterable[Widget]:
        with Horizontal(classes="body split"):
            tree: RowList[Folder] = RowList(
                (
                    Column(
                        "name",
                        "FOLDER",
                        8,
                        lambda folder: (folder.label, "bold" if not folder.depth else ""),
                        flex=1,
                    ),
                    Column(
                        "files", "FILES", 8, lambda folder: (units.count(folder.files), "dim"), right=True
                    ),
                ),
                self._folders.fields,
                id="tree",
                help_text="Folders of the plan. Enter shows only what is in one; the first is everything.",
                identity=lambda folder: folder.path,
            )
            tree.add_class("tree")
            yield tree
            main: RowList[PlanRow] = RowList(
                COLUMNS, FIELDS, id="files", empty="no files", help_text=HELP, identity=lambda row: row.path
            )
            main.add_class("main")
            yield main
            side = LineView(
                "peek", id="side", help_text="The file's beginning (enter), or why its strategy (w)."
            )
            side.add_class("side")
            yield side
        totals = LineView(id="totals")
        totals.can_focus = False
        totals.add_class("figures")
        yield totals

    @property
    def files(self) -> RowList[PlanRow]:
        return self.query_one("#files", RowList)

    @property
    def side(self) -> LineView:
        return self.query_one("#side", LineView)

    @property
    def work(self) -> PlanWork | None:
        return self._work

    def where(self) -> str:
        work = self._work
        if work is None:
            return ""
        at = f"@{work.commit[:7]}" if work.commit else ""
        branch = f" {work.branch}" if work.branch else ""
        return f"{work.chosen.name}{at}{branch}"

    def count_noun(self, count: int) -> str:
        return "files" if count != 1 else "file"

    # Streaming in

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        chosen = self.session.chosen
        if chosen and (self._work is None or self._work.chosen != chosen):
            self._begin(chosen)

    def _begin(self, chosen: Chosen) -> None:
        before = self.session.plan
        work = PlanWork(self.session, chosen)
        self.session.plan = self._work = work
        self._taken, self._version, self._shown = 0, -1, None
        self._folders.clear()
        self.files.marked.clear()
        self.files.show([])
        self.files.move_to(0)
        if before:
            in_background(self, before.close)
        work.start()

    def tick(self) -> None:
        self.take()
        self._show_side()

    def take(self) -> None:
        """Show what the plan brought since the last time."""
        work = self._work
        if work is None:
            self.query_one("#totals", LineView).show(
                [[(" no repository is chosen: 1 Repos, then enter", "dim")], []]
            )
            return
        if work.version == self._version:
            return
        self._version = work.version
        new = work.rows[self._taken :]
        self._taken = len(work.rows)
        self.files.add(new)
        self._folders.add(row.path for row in new)
        if self.query_one("#tree", RowList).display and new:
            self.query_one("#tree", RowList).show(self._folders.rows())
        if not new:
            self.files.repaint()  # a change, in place
        self._show_totals(work)

    def _show_totals(self, work: PlanWork) -> None:
        view = self.query_one("#totals", LineView)
        if work.state == "failed":
            hint = work.error.hint if isinstance(work.error, ArchonError) else None
            view.show([[(" ✗ ", "fail"), (work.message, "fail")], [(f"   {hint}" if hint else "", "dim")]])
            return
        totals = work.totals()
        lines = figures(totals, view.size.width - 1)
        if not work.is_complete:
            lines[-1] = [*lines[-1], ("   planning …", "warn")]
        view.show(lines)

    # The side pane

    @on(RowList.Highlighted, "#files")
    def highlighted(self) -> None:
        self._show_side()

    def _show_side(self) -> None:
        """Peek or why of the row under the cursor, where there is room for it or it was asked for."""
        row, work = self.files.current, self._work
        if row is None or work is None or not self.side.display:
            return
        state = (row.path, self._side, row.strategy, row.why, id(work))
        if state == self._shown:
            return
        self._shown = state
        if self._side == "why":
            lines = why_lines(row, work.verdicts(row), work.selector, work.choice(row))
            self.side.show(lines, "why", from_top=True, wraps=True)
        else:
            in_background(self, partial(self._peek, work, row, state), group="peek", only=True)

    async def _peek(self, work: PlanWork, row: PlanRow, asked: object) -> None:
        if row.facts is None:
            self.side.show(
                [[(row.path, "bold")], [], [("not published: ", "dim"), (row.why, "warn")]],
                "peek",
                from_top=True,
            )
            return
        try:
            content = await work.peek(row)
        except TimeoutError:
            lines: list[Line] = [[("✗ the disk does not answer", "fail")]]
        except (ArchonError, OSError) as error:
            lines = [[("✗ ", "fail"), (str(error), "fail")]]
        else:
            if isinstance(content, Skip):
                lines = [[("✗ ", "fail"), (content.reason.sentence, "fail")]]
            else:
                lines = await asyncio.to_thread(lines_of, content, row.language, row.facts.encoding)
                lines = numbered(lines) if row.facts.encoding else lines
                if row.size == 0:
                    lines = [[("an empty file", "dim")]]
        if asked != self._shown:
            return  # another file, or why, was asked for meanwhile
        title = "peek" if (row.size or 0) <= 64 << 10 else "peek: the first 64 KB"
        self.side.show(lines, title, from_top=True, wraps=False)

    # Actions

    async def do_list_open(self) -> None:
        tree = self.query_one("#tree", RowList)
        if self.focused is tree:
            folder = tree.current
            text = f'"under:{folder.path}"' if folder and folder.path else ""
            self.set_filter(text)
            self.files.focus()
            return
        self._open_side("peek")

    def do_plan_why(self) -> None:
        self._open_side("why")

    def why_not_plan_why(self) -> str | None:
        return None if self.files.current else "there is no file"

    def _open_side(self, side: str) -> None:
        self._side = side
        self.show_side()
        self.side.focus()
        self._show_side()

    def do_app_refresh(self) -> None:
        if self.session.chosen:
            self._begin(self.session.chosen)

    def _why_not_change(self) -> str | None:
        if self._work is None:
            return "no repository is chosen"
        if self._work.state == "failed":
            return "the plan failed"
        return None if self._work.is_complete else "the plan is still being made"

    why_not_plan_change = _why_not_change
    why_not_plan_knobs = _why_not_change

    def do_plan_change(self) -> None:
        rows = [row for row in self.files.marked_rows() if row.facts]
        work = self._work
        if work is None or not rows:
            self.archon.tell("none of these files can be carried", warn=True)
            return
        verdicts = work.verdicts(rows[0])
        choices = [Choice("auto", "auto", "as the rules choose")]
        for strategy in LETTERS:
            verdict = verdicts.get(strategy)
            refusal = "not configured" if verdict is None else None
            detail = verdict.why if verdict and len(rows) == 1 else ""
            choices.append(Choice(str(strategy), WORDS[strategy], detail, refusal))
        noun = f"{len(rows):,} files" if len(rows) > 1 else "1 file"

        def answered(chosen: str | None) -> None:
            if chosen:
                strategy = None if chosen == "auto" else ContentStrategy(chosen)
                self._change(overrides={row.path: strategy for row in rows})

        self.app.push_screen(Choose(f"strategy of {noun}", choices), answered)

    def do_plan_knobs(self) -> None:
        work = self._work
        if work is None:
            return
        limit = units.size(work.settings.publish.inline_size_limit)
        choices = [Choice("limit", "inline limit", f"{limit}: the largest file sent inline")]
        for strategy in (ContentStrategy.OBJECT_STORAGE, ContentStrategy.GIT_REFERENCE):
            on = strategy not in work.without
            refusal = None if strategy in work.configured else "not configured"
            choices.append(
                Choice(
                    strategy.value, WORDS[strategy], "on: turn it off" if on else "off: turn it on", refusal
                )
            )
        choices.append(Choice("reset", "as configured", "undo every change of this plan"))
        self.app.push_screen(Choose("knob", choices), self._turn)

    def _turn(self, knob: str | None) -> None:
        work = self._work
        if work is None or knob is None:
            return
        if knob == "limit":
            self._ask_limit(work)
        elif knob == "reset":
            self._change(settings=self.session.settings, overrides=dict.fromkeys(work.overrides), without=())
        else:
            self._change(without=work.without ^ {ContentStrategy(knob)})

    def _ask_limit(self, work: PlanWork) -> None:
        def check(text: str) -> str | None:
            try:
                parse_size(text)
            except ValueError as error:
                return str(error)
            return None

        def answered(texts: tuple[str, ...] | None) -> None:
            if texts:
                limit = parse_size(texts[0])
                publish = work.settings.publish.model_copy(update={"inline_size_limit": limit})
                self._change(settings=work.settings.model_copy(update={"publish": publish}))

        now = f"{work.settings.publish.inline_size_limit}"
        self.app.push_screen(
            Ask(Field("Largest file sent inline, such as 100KB or 1MiB", check, now)), answered
        )

    def _change(
        self,
        *,
        settings: Settings | None = None,
        overrides: dict[str, ContentStrategy | None] | None = None,
        without: Collection[ContentStrategy] | None = None,
    ) -> None:
        async def change() -> None:
            assert self._work  # noqa: S101 - only asked for with one
            try:
                await self._work.change(settings=settings, overrides=overrides, without=without)
            except ArchonError as error:
                self.archon.fail(error)

        in_background(self, change, group="change")

    def why_not_plan_run(self) -> str | None:
        if refusal := self._why_not_change():
            return refusal
        run = self.session.run
        if run and run.is_active:
            return "a run is going on already: 3 shows it"
        work = self._work
        if work and not work.totals().summary.files_published:
            return "there is nothing to publish"
        return None

    def question_plan_run(self) -> Question | None:
        work = self._work
        if work is None:
            return None
        totals = work.totals()
        summary = totals.summary
        lines: list[Line] = [
            [
                (f"{summary.files_published:,} files", "bold"),
                (
                    f", {units.size(summary.bytes)}, in {summary.batches:,} events",
                    "",
                ),
            ]
        ]
        for strategy, letter in LETTERS.items():
            if strategy in summary.by_strategy:
                part = summary.by_strategy[strategy]
                lines.append(
                    [
                        (f"  {letter} ", STYLES[strategy]),
                        (f"{WORDS[strategy]:<15}{part.files:>9,} files {units.size(part.bytes):>10}", ""),
                    ]
                )
        if summary.faults:
            lines.append([(f"  ! {len(summary.faults):,} files cannot be carried and stay out", "warn")])
        lines.append([("  cost ", "dim"), (cost_text(totals.cost), "")])
        return Question(f"Publish {work.chosen.name} to the {self.session.log_kind} log?", lines, "run")

    async def do_plan_run(self) -> None:
        from archon_tui.running import RunWork

        work = self._work
        if work is None:
            return
        if before := self.session.run:
            in_background(self, before.close)
        self.session.run = RunWork.start(self.session, work)
        await self.archon.go("run")

    def copied(self) -> str | None:
        return self.files.current.path if self.files.current else None

    def export(self) -> Export | None:
        work = self._work
        if work is None or not work.rows:
            return None
        return Export("plan", lambda: _document(work), lambda: [_row(row) for row in work.rows])


def _row(row: PlanRow) -> dict[str, object]:
    return {
        "path": row.path,
        "size_bytes": row.size,
        "language": row.language,
        "strategy": row.strategy,
        "reason": row.why,
        "unchanged": row.unchanged,
    }


def _document(work: PlanWork) -> dict[str, object]:
    return {
        **work.totals().summary.to_json(),
        "max_message_bytes": work.totals().limit,
        "files": [_row(row) for row in work.rows],
    }
