"""Run: the ingestion as it goes, or a recorded one played again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from textual.containers import Vertical
from textual.widget import Widget

from archon_tui.export import Export
from archon_tui.filters import Fields
from archon_tui.following import Following
from archon_tui.models.run import Problem, RunModel, RunState, figure_lines, stage_lines
from archon_tui.replay import Replay
from archon_tui.running import RunWork
from archon_tui.screens.dialogs import Question
from archon_tui.screens.page import Page, bindings, state_line
from archon_tui.text import bar
from archon_tui.widgets.line_view import LineView
from archon_tui.widgets.painted import Line, Piece
from archon_tui.widgets.row_list import Column, RowList
from core import units

COLUMNS: tuple[Column[Problem], ...] = (
    Column(
        "kind",
        "WHAT",
        12,
        lambda row: (row.kind, "warn" if row.kind == "skipped" else "fail"),
        lambda row: row.kind,
    ),
    Column("path", "FILE", 20, lambda row: (row.path, ""), lambda row: row.path, flex=2, keep_end=True),
    Column("reason", "REASON", 18, lambda row: (row.reason, ""), lambda row: row.reason),
    Column("detail", "DETAIL", 16, lambda row: (row.detail, "dim"), flex=3, drop=1),
)
FIELDS: Fields[Problem] = Fields(
    text=lambda row: f"{row.path} {row.detail}",
    named={"what": lambda row: row.kind, "reason": lambda row: row.reason},
)
STATES: dict[RunState, Piece] = {
    RunState.RUNNING: ("● running", "accent"),
    RunState.PUBLISHED: ("✓ published", "ok"),
    RunState.PAUSED: ("! paused", "warn"),
    RunState.STOPPING: ("! stopping", "warn"),
    RunState.DONE: ("✓ done", "ok"),
    RunState.CANCELLED: ("! cancelled", "warn"),
    RunState.FAILED: ("✗ failed", "fail"),
}


class Shown(Protocol):
    """What the screen can show: a run or a replay."""

    name: str
    model: RunModel
    state: RunState

    @property
    def elapsed_s(self) -> float: ...


class RunPage(Page):
    """Stages, figures and problems of one run."""

    NAME = "run"
    BINDINGS = bindings(NAME)

    def __init__(self) -> None:
        super().__init__()
        self._drawn: object = None
        self._problems = 0

    def body(self) -> Iterable[Widget]:
        with Vertical(classes="body"):
            stages = LineView(
                id="stages", help_text="Stages of the run: bar, files, rate, and when it will be done."
            )
            stages.add_class("figures")
            yield stages
            problems: RowList[Problem] = RowList(
                COLUMNS,
                FIELDS,
                id="problems",
                empty="no skips that matter, no failures",
                help_text="Files that were skipped for a fault, failed, or went to the dead letters.",
            )
            problems.add_class("main")
            yield problems

    @property
    def problems(self) -> RowList[Problem]:
        return self.query_one("#problems", RowList)

    @property
    def shown(self) -> RunWork | Replay | None:
        return self.session.replay or self.session.run

    def where(self) -> str:
        shown = self.shown
        if shown is None:
            return ""
        return f"replay of {shown.name}" if isinstance(shown, Replay) else shown.name

    def count_noun(self, count: int) -> str:
        return "problems" if count != 1 else "problem"

    def tick(self) -> None:
        shown = self.shown
        view = self.query_one("#stages", LineView)
        if shown is None:
            view.show([[(" no run yet: 2 Plan, then R", "dim")]])
            return
        shown.tick()
        model = shown.model
        state = (
            id(model),
            model.version,
            shown.state,
            round(shown.elapsed_s, 1) if not shown.state.is_over else 0,
            view.size.width,
        )
        if state == self._drawn:
            return
        self._drawn = state
        width = max(40, view.size.width - 1)
        lines = [*self._headline(shown, width), [], *stage_lines(model, width), [], *figure_lines(model)]
        view.show(lines)
        view.styles.height = min(view.height, max(8, self.size.height - 10))
        if len(model.problems) != self._problems:
            self._problems = len(model.problems)
            self.problems.show(list(model.problems))

    def _headline(self, shown: RunWork | Replay, width: int) -> list[Line]:
        glyph = STATES[shown.state]
        line: list[Piece] = [
            (" ", ""),
            glyph,
            (
                f" for {units.duration(shown.elapsed_s)}"
                if not shown.state.is_over
                else f" in {units.duration(shown.elapsed_s)}",
                "",
            ),
        ]
        if isinstance(shown, Replay):
            share = shown.elapsed_s / shown.length_s if shown.length_s else 1.0
            line += [
                ("  ", ""),
                (bar(share, max(10, min(40, width - 50))), "accent"),
                (f" of {units.duration(shown.length_s)} at {shown.speed:g}×", "dim"),
            ]
            return [line]
        counts = shown.model.counts
        if shown.state.is_over:
            line.append((f": {counts['published']:,} files published in {counts['batches']:,} batches", ""))
            if shown.model.consumes or shown.model.reported:
                line.append((f", {counts['analyzed']:,} analysed, {counts['failed']:,} failed", ""))
        elif shown.model.consumes and shown.model.published_whole:
            line.append((": published; the log is being drained", "dim"))
        lines: list[Line] = [line]
        if shown.message:
            lines.append([(" ✗ ", "fail"), (shown.message, "fail")])
        if shown.following and not shown.state.is_over:
            lines.append([(" ", ""), *self._agents(shown.following)])
        if trouble := shown.journal_trouble:
            lines.append([(" ! ", "warn"), (trouble, "dim")])
        return lines

    def _agents(self, following: Following) -> Line:
        """Who is at it, or why that is not known."""
        if following.reading.error:
            return state_line(following.reading, self.session.clock(), "the log")
        seen, group = self.archon.seen, self.session.settings.log.group
        if seen is None:
            return [("asking who consumes …", "dim")]
        live = [each for each in seen.fleet if each.status.group == group and not each.is_stale]
        if not live:
            return [
                ("! ", "warn"),
                ("no agent of the group speaks on the status topic: 8 Health, 4 Lag", "warn"),
            ]
        noun = "agent" if len(live) == 1 else "agents"
        return [(f"analysed by {len(live):,} {noun} of the group: 4 Lag shows how far they are", "dim")]

    # Actions

    def _why_not_now(self) -> str | None:
        shown = self.shown
        if shown is None:
            return "there is no run"
        if isinstance(shown, RunWork) and not shown.is_active:
            return (
                "the run is over"
                if shown.state.is_over
                else "all is published: the agents go on by themselves"
            )
        if shown.state is RunState.STOPPING:
            return "it is stopping already"
        return None

    why_not_run_pause = _why_not_now

    def do_run_pause(self) -> None:
        if self.shown:
            self.shown.toggle_pause()

    def why_not_run_cancel(self) -> str | None:
        return "this is a replay" if self.session.replay else self._why_not_now()

    def question_run_cancel(self) -> Question:
        return Question(
            "Stop the run?",
            [[("What the log acknowledged stays. The next run publishes the rest.", "")]],
            "stop it",
        )

    def do_run_cancel(self) -> None:
        if self.session.run:
            self.session.run.cancel()

    def _why_not_replay(self) -> str | None:
        return None if self.session.replay else "only a replay can do that: archon-tui --replay JOURNAL"

    why_not_replay_slower = why_not_replay_faster = _why_not_replay
    why_not_replay_back = why_not_replay_ahead = _why_not_replay

    def do_replay_slower(self) -> None:
        self._play(lambda replay: replay.change_speed(0.5))

    def do_replay_faster(self) -> None:
        self._play(lambda replay: replay.change_speed(2.0))

    def do_replay_back(self) -> None:
        self._play(lambda replay: replay.seek(replay.elapsed_s - 10))

    def do_replay_ahead(self) -> None:
        self._play(lambda replay: replay.seek(replay.elapsed_s + 10))

    def _play(self, change: object) -> None:
        if self.session.replay and callable(change):
            change(self.session.replay)
            self._drawn = None
            self.tick()

    def copied(self) -> str | None:
        return self.problems.current.path if self.problems.current else None

    def export(self) -> Export | None:
        shown = self.shown
        if shown is None:
            return None
        return Export("run", lambda: _document(shown), lambda: _rows(shown.model))


def _document(shown: RunWork | Replay) -> dict[str, object]:
    return {
        **shown.outcome(),
        "stages": _rows(shown.model),
        "problems": [
            {"what": row.kind, "path": row.path, "reason": row.reason, "detail": row.detail}
            for row in shown.model.problems
        ],
    }


def _rows(model: RunModel) -> list[dict[str, object]]:
    return [
        {
            "stage": stage.name,
            "done": stage.done,
            "total": stage.total,
            "ended_at_s": stage.ended_s,
            "detail": stage.detail,
        }
        for stage in model.stages()
    ]
