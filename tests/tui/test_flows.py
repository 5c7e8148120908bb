"""The ways through the dashboard, from key to effect, over the real core."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from archon_tui.actions import ACTIONS, SCREENS, of_screen
from archon_tui.app import ArchonApp
from archon_tui.demo import files, make_repository, prepare
from archon_tui.models.events import Kind
from archon_tui.models.run import RunState
from archon_tui.screens.dialogs import Confirm
from core.assembly.stores import open_index, open_log
from core.errors import BackendUnavailable
from core.events.common import ContentStrategy
from core.events.topics import REQUESTED_V2
from core.log.base import OutgoingMessage
from tests.tui.driving import chosen, page, session_for, until, view


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "shop", files("shop", 12))


async def test_from_picking_a_repository_to_its_results(repository: Path, tmp_path: Path) -> None:
    session = session_for(tmp_path / "home", repository)
    app = ArchonApp(session)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: page(pilot).repos.current and page(pilot).repos.current.looked)
        assert page(pilot).repos.current.files == 18
        await pilot.press("enter")
        await until(pilot, lambda: session.plan and session.plan.is_complete)
        plan = page(pilot)
        await until(pilot, lambda: len(plan.files.rows) == 18)

        # One marked file to object storage: it moves at once, and the totals say so.
        await pilot.press("slash", *"src", "enter", "space")
        (marked,) = plan.files.marked_rows()
        assert str(marked.strategy) == "inline"
        await pilot.press("c")
        await pilot.press("j", "j", "enter")
        await until(pilot, lambda: marked.moved)
        assert str(marked.strategy) == "object_storage"
        await until(pilot, lambda: "▲1" in view(plan, "#totals"))
        await pilot.press("escape")

        await pilot.press("R")
        assert isinstance(app.screen, Confirm)
        await pilot.press("enter")  # not a yes
        assert session.run is None
        await pilot.press("R", "y")
        await until(pilot, lambda: session.run and session.run.state.is_over)
        assert session.run
        assert (session.run.state, session.run.message) == (RunState.DONE, "")
        assert session.run.model.counts["analyzed"] == 18
        sent = session.run.model.sent[ContentStrategy.OBJECT_STORAGE].files
        assert sent == 4  # three large ones, and the one that was moved
        await until(pilot, lambda: "done in" in view(page(pilot), "#stages"))

        await pilot.press("9")
        await until(pilot, lambda: len(page(pilot).records.rows) == 18)
        await pilot.press("1")
        await pilot.press("r")
        await until(pilot, lambda: page(pilot).repos.current.last is not None)
        assert page(pilot).repos.current.last.outcome["state"] == "done"
    await session.close()
    async with open_index(session.settings) as index:
        assert [item.files for item in await index.projects()] == [18]


async def test_on_call_from_lag_to_redriven_dead_letters(tmp_path: Path) -> None:
    session = session_for(tmp_path / "home", flags={"publish.batch_size": 10})
    shop = make_repository(tmp_path / "shop", files("shop", 6))
    library = make_repository(tmp_path / "lib", files("lib", 30))
    await prepare(session.settings, shop, library)
    app = ArchonApp(session, first="lag")
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: app.seen and app.seen.report.lag == 5)
        await until(pilot, lambda: "lag 5" in view(page(pilot), "#group"))

        session.choose(chosen(make_repository(tmp_path / "more", files("more", 2))))
        await pilot.press("2")
        await until(pilot, lambda: session.plan and session.plan.is_complete)
        await pilot.press("R", "y")
        await until(pilot, lambda: session.run and session.run.state.is_over)
        assert session.run
        assert session.run.model.counts["dead_lettered"] == 2
        assert session.run.model.failures == {"checksum_mismatch": 1}

        await pilot.press("7")
        events = page(pilot)
        await until(pilot, lambda: any(row.kind is Kind.DEAD_LETTER for row in events.events.rows.all))
        letters = [row for row in events.events.rows.all if row.kind is Kind.DEAD_LETTER]
        assert sorted(row.summary.split(":")[0] for row in letters) == ["checksum_mismatch", "invalid_event"]
        events.set_filter("kind:dead checksum")
        await until(pilot, lambda: len(events.events.rows) == 1)
        events.events.focus()
        await pilot.press("space", "D")
        assert isinstance(app.screen, Confirm)
        await pilot.press("y")
        await until(pilot, lambda: any(row.redriven for row in events.events.rows.all))
        async with open_log(session.settings) as log:
            lag = sum(part.lag for part in await log.lag(session.settings.log.group, [REQUESTED_V2]))
        assert lag == 1  # the redriven one waits; the poison stays where it is
        refusal = events.why_not(app.action("events.redrive"))
        assert refusal == "no dead letter is marked or under the cursor"  # it cannot go twice
    await session.close()


async def test_read_only_refuses_with_the_reason(repository: Path, tmp_path: Path) -> None:
    session = session_for(tmp_path / "home", repository, read_only=True)
    session.choose(chosen(repository))
    app = ArchonApp(session, first="plan")
    told: list[str] = []

    def tell(text: str, *, warn: bool = False) -> None:
        told.append(text)

    app.tell = tell  # type: ignore[method-assign]
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: session.plan and session.plan.is_complete)
        await pilot.press("R")
        assert app.screen is page(pilot)
        assert session.run is None
        assert told == ["run: the dashboard was started with --read-only"]
        assert "read-only" in page(pilot).query_one("#top").text
    await session.close()


async def test_a_log_that_goes_away_is_stale_and_comes_back(tmp_path: Path) -> None:
    session = session_for(tmp_path / "home")
    async with open_log(session.settings) as log:
        await log.publish(REQUESTED_V2, [OutgoingMessage(b"k", b"v")])
    app = ArchonApp(session, first="lag")
    look = app.lag_watch.look
    broken = False

    async def fragile() -> Any:
        if broken:
            raise BackendUnavailable("the broker is gone", hint="start it")
        return await look()

    app.lag_watch.look = fragile  # type: ignore[method-assign]
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: len(page(pilot).partitions.rows) > 0)
        broken = True
        await pilot.press("r")
        await until(pilot, lambda: app.log_reading.error)
        await until(pilot, lambda: "stale" in page(pilot).query_one("#top").text)
        assert "the broker is gone (start it)" in view(page(pilot), "#group")
        assert len(page(pilot).partitions.rows) > 0
        broken = False
        await pilot.press("r")
        await until(pilot, lambda: "live" in page(pilot).query_one("#top").text)
    await session.close()


async def test_every_action_of_a_screen_is_carried_out_somewhere(tmp_path: Path) -> None:
    session = session_for(tmp_path / "home")
    app = ArchonApp(session)
    async with app.run_test(size=(200, 50)) as pilot:
        for screen in SCREENS:
            await app.go(screen)
            await pilot.pause()
            for action in of_screen(ACTIONS, screen):
                done = action.id.startswith("go.") or page(pilot)._method(f"do_{action.handler}")
                assert done, f"{screen} cannot do {action.id}"
                page(pilot).why_not(action)
    await session.close()


def shows(app: ArchonApp, name: str) -> bool:
    return app.current_mode == name


async def test_screens_are_remembered_back_and_forth(tmp_path: Path) -> None:
    app = ArchonApp(session_for(tmp_path / "home"))
    async with app.run_test(size=(80, 24)) as pilot:
        for key, name in (("2", "plan"), ("7", "events"), ("[", "plan"), ("[", "repos"), ("]", "plan")):
            await pilot.press(key)
            await until(pilot, partial(shows, app, name))
    await app.session.close()


async def test_a_small_terminal_is_told_so(tmp_path: Path) -> None:
    app = ArchonApp(session_for(tmp_path / "home"))
    async with app.run_test(size=(52, 14)) as pilot:
        await until(pilot, lambda: page(pilot).query_one("#too-small").display)
        shown = str(page(pilot).query_one("#too-small").render())
        assert shown == "archon needs at least 60×16 (this is 52×14)"
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: not page(pilot).query_one("#too-small").display)
    await app.session.close()


async def test_the_filter_narrows_and_escape_clears_it(repository: Path, tmp_path: Path) -> None:
    session = session_for(tmp_path / "home")
    session.choose(chosen(repository))
    app = ArchonApp(session, first="plan")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: session.plan and session.plan.is_complete)
        plan = page(pilot)
        await until(pilot, lambda: len(plan.files.rows) == 18)
        await pilot.press("slash", *"strategy:storage")
        await until(pilot, lambda: len(plan.files.rows) == 3)
        await pilot.press(*"x:")
        assert plan.files.filter_text == "strategy:storagex:"
        await pilot.press("escape")
        await until(pilot, lambda: len(plan.files.rows) == 18)
        assert not isinstance(app.focused, Input)
        plan.set_filter("nofield:x")
        await until(pilot, lambda: plan.files.query_error)
        assert "there is no field nofield" in str(plan.files.query_error)
    await session.close()


async def test_a_poison_event_alone_can_be_looked_into(tmp_path: Path) -> None:
    session = session_for(tmp_path / "home")
    async with open_log(session.settings) as log:
        await log.publish(
            REQUESTED_V2, [OutgoingMessage(b"\xff\x1b", b"\x1b]52;c;x\x07\xff", (("h\x1b", b"\x1b[2J"),))]
        )
    app = ArchonApp(session, first="events")
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: page(pilot).events.current)
        await until(pilot, lambda: "payload" in view(page(pilot), "#message"))
        for widget in (page(pilot).events, page(pilot).query_one("#message")):
            text = "".join(widget.render_line(y).text for y in range(widget.size.height))
            assert "\x1b" not in text
            assert "\x07" not in text
    await session.close()


async def test_a_directory_outside_git_can_be_planned(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "a.py").write_bytes(b"x = 1\n")
    session = session_for(tmp_path / "home")
    session.choose(chosen(plain))
    app = ArchonApp(session, first="plan")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: session.plan and session.plan.is_complete)
        assert [row.path for row in session.plan.rows] == ["a.py"] if session.plan else False
    await session.close()


async def test_a_plan_that_fails_says_why_in_place(tmp_path: Path) -> None:
    session = session_for(tmp_path / "home")
    session.choose(chosen(tmp_path / "gone"))
    app = ArchonApp(session, first="plan")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "does not exist" in view(page(pilot), "#totals"))
        assert page(pilot).why_not(app.action("plan.run")) == "the plan failed"
    await session.close()


def test_the_demo_makes_the_same_files_every_time() -> None:
    assert files("shop", 20) == files("shop", 20) != files("lib", 20)
