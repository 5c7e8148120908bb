"""What `bench/tui.py` measures from within: the real application on the terminal it was started in.

`python -m bench._tui WHAT RESULT …` writes its figures to the file RESULT as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from textual.app import App, ComposeResult

from archon_tui.app import ArchonApp
from archon_tui.background import in_background
from archon_tui.chosen import Chosen
from archon_tui.filters import Fields
from archon_tui.running import RunWork
from archon_tui.session import Session
from archon_tui.starting import SWITCH_S, leave_with
from archon_tui.widgets.row_list import Column, RowList
from core.assembly.source import Target
from core.planner import PlanItem, Planner
from core.settings import Settings, load

Row = tuple[str, int, str]


class Million(App[None]):
    """One list and nothing else. `figures`: what was done -> seconds, and the longest wait of the loop."""

    def __init__(self, rows: list[Row]) -> None:
        super().__init__()
        self.given = rows
        self.figures: dict[str, tuple[float, float]] = {}

    def compose(self) -> ComposeResult:
        columns: tuple[Column[Row], ...] = (
            Column("path", "FILE", 20, lambda row: (row[0], ""), lambda row: row[0], flex=1, keep_end=True),
            Column("size", "SIZE", 9, lambda row: (f"{row[1]:,}", ""), lambda row: row[1], right=True),
            Column("lang", "LANG", 8, lambda row: (row[2], "dim"), lambda row: row[2]),
        )
        yield RowList[Row](columns, Fields(text=lambda row: row[0]), identity=lambda row: row[0])

    def on_mount(self) -> None:
        in_background(self, self._work)

    async def _work(self) -> None:
        shown: Any = self.query_one(RowList)
        last = len(self.given) - 1
        shown.focus()
        await self._drawn()
        for name, act in (
            ("show", lambda: shown.show(self.given)),
            ("jump to the end", lambda: shown.move_to(last)),
            ("half a page up", lambda: shown.move_by(-20)),
            ("jump to the top", lambda: shown.move_to(0)),
            ("filter by a word", lambda: shown.filter("d12")),
            ("clear the filter", lambda: shown.filter("")),
            ("sort by path", lambda: shown.sort(shown.columns[0])),
            ("sort by size", lambda: shown.sort(shown.columns[1])),
            ("the other way round", shown.turn_round),
            ("jump to the end, sorted", lambda: shown.move_to(last)),
        ):
            await self._measured(name, shown, act)
        self.exit()

    async def _measured(self, name: str, shown: Any, act: Callable[[], object]) -> None:
        longest, stop = 0.0, False

        async def beat() -> None:
            nonlocal longest
            last = time.perf_counter()
            while not stop:
                await asyncio.sleep(0)
                now = time.perf_counter()
                longest, last = max(longest, now - last), now

        beating = asyncio.create_task(beat())
        started = time.perf_counter()
        act()
        await shown.arranged()
        await self._drawn()
        took = time.perf_counter() - started
        stop = True
        await beating
        self.figures[name] = (took, longest)

    async def _drawn(self) -> None:
        drawn = asyncio.Event()
        self.call_after_refresh(drawn.set)
        await drawn.wait()


def million(count: int) -> dict[str, Any]:
    """Work over `count` rows, as the dashboard is set up: rows out of the collector's sight."""
    chance = random.Random(1)
    app = Million(
        [
            (f"src/d{chance.randrange(500)}/f{number}.py", chance.randrange(1 << 20), chance.choice("abcde"))
            for number in range(count)
        ]
    )
    gc.freeze()
    app.run()
    return dict(app.figures)


def plan(source: Path, home: Path) -> dict[str, Any]:
    """Plan a repository on the Plan screen until it is left; when the planner was first asked for files."""
    marks: dict[str, Any] = {}
    stream = Planner.stream

    async def timed(self: Planner) -> AsyncIterator[list[PlanItem]]:
        marks["asked_at"] = time.monotonic()
        async for chunk in stream(self):
            marks.setdefault("delivered_at", time.monotonic())
            yield chunk

    Planner.stream = timed  # type: ignore[method-assign]
    session = Session(_settings(home))
    session.choose(Chosen(str(source), source.name))
    _leave(ArchonApp(session, first="plan"), session)
    work = session.plan
    assert work
    assert work.first_rows_at
    return {**marks, "opened_at": work.started_at, "ended_at": work.ended_at, "files": len(work.rows)}


def run(source: Path, home: Path) -> dict[str, Any]:
    """Plan, run, and watch it on the Run screen; how long the run took."""
    session = Session(_settings(home))
    session.choose(Chosen(str(source), source.name))
    app = ArchonApp(session, first="plan")

    async def work() -> None:
        while not (session.plan and session.plan.is_complete):  # noqa: ASYNC110 - the plan is as the screen sees it
            await asyncio.sleep(0.05)
        page: Any = app.page
        await page.do_plan_run()
        assert session.run
        await session.run.wait()
        app.exit()

    app.call_later(in_background, app, work)
    _leave(app, session)
    assert session.run
    return _figures(session.run)


def bare(source: Path, home: Path) -> dict[str, Any]:
    """The same run without an application."""

    async def work() -> RunWork:
        session = Session(_settings(home))
        run = RunWork(session, session.settings, Target(source), source.name, {})
        run.begin()
        await run.wait()
        await session.close()
        return run

    return _figures(asyncio.run(work()))


def _figures(run: RunWork) -> dict[str, Any]:
    assert run.error is None, run.error
    return {"seconds": run.elapsed_s, "files": run.model.counts["analyzed"]}


def _settings(home: Path) -> Settings:
    return load({"home": home}, environ={}).settings


def _leave(app: ArchonApp, session: Session) -> None:
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
    leave_with(asyncio.new_event_loop(), app, session)


def main(what: str, result: str, *arguments: str) -> None:
    """Measure `what`."""
    work: Callable[..., dict[str, Any]] = {"plan": plan, "run": run, "bare": bare}.get(what, million)
    given = [int(each) if each.isdigit() else Path(each) for each in arguments]
    Path(result).write_text(json.dumps(work(*given)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
