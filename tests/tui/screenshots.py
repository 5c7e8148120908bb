"""Drives the real dashboard over the demo's world and draws every screen: `make screenshots`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from archon_tui.app import ArchonApp
from archon_tui.chosen import Chosen
from archon_tui.demo import demo_settings, files, make_repository, prepare
from archon_tui.session import Session
from core.settings import load
from tests.tui.driving import until, view

ROOT = Path(__file__).parents[2]
SIZE = (120, 36)
PATIENCE_S = 120.0


async def shoot(out: Path) -> None:
    """Walk the screens, and write `<screen>.svg` for each below `out`."""
    with tempfile.TemporaryDirectory(prefix="archon-shots-") as directory:
        home = Path(directory)
        settings = demo_settings(home / "state", load({}, environ={}).settings)
        shop = make_repository(home / "shop-api", files("shop-api", 160))
        library = make_repository(home / "parser-lib", files("parser-lib", 90))
        make_repository(home / "docs-site", files("docs-site", 40))
        await prepare(settings, shop, library)
        session = Session(settings, roots=(home,))
        app = ArchonApp(session)
        async with app.run_test(size=SIZE) as pilot:
            await walk(app, pilot, session, home, out)
        await session.close()


async def walk(app: ArchonApp, pilot: Pilot[Any], session: Session, home: Path, out: Path) -> None:
    """The way a demo goes."""

    def save(name: str) -> None:
        out.mkdir(parents=True, exist_ok=True)
        app.save_screenshot(f"{name}.svg", str(out))

    page: Any = app.page
    await until(pilot, lambda: len(page.repos.rows) >= 3 and all(repo.looked for repo in page.repos.rows.all))
    await until(pilot, lambda: app.seen and "state" in view(page, "#repo"))
    await still(pilot)
    save("repos")

    await pilot.press("4")
    await until(pilot, lambda: app.page.NAME == "lag" and app.seen and app.seen.report.lag)
    await pilot.pause()
    save("lag")

    session.choose(Chosen(str(home / "docs-site"), "docs-site"))
    await pilot.press("2")
    await until(pilot, lambda: session.plan and session.plan.is_complete)
    plan: Any = app.page
    await until(pilot, lambda: len(plan.files.rows) > 0)
    await pilot.press("j", "j", "w")
    await until(pilot, lambda: plan.side.border_title == "why")
    await pilot.pause()
    save("plan")

    await pilot.press("R", "y")
    await until(pilot, lambda: session.run and session.run.state.is_over)
    await still(pilot)
    save("run")

    await pilot.press("7")
    events: Any = app.page
    await until(pilot, lambda: app.page.NAME == "events" and len(app.page.main_list.rows) > 0)  # type: ignore[union-attr]
    events = app.page
    events.set_filter("kind:dead")
    await until(pilot, lambda: 0 < len(events.events.rows) < 5)
    await still(pilot)
    save("events")

    await pilot.press("9")
    await until(pilot, lambda: app.page.NAME == "results" and len(app.page.main_list.rows) > 0)  # type: ignore[union-attr]
    await pilot.press("s", "s", "s", "s", "s", "s")
    await still(pilot)
    save("results")

    for key, name in (("5", "cache"), ("6", "cost"), ("8", "health")):
        await pilot.press(key)
        await until(pilot, partial(_is_filled, app, name))
        await pilot.pause()
        save(name)


async def still(pilot: Pilot[Any]) -> None:
    """Wait until the screen is drawn the same twice, with the application idle in between."""
    async with asyncio.timeout(PATIENCE_S):
        drawn, before = pilot.app.export_screenshot(), ""
        while drawn != before:
            await pilot.pause()
            before, drawn = drawn, pilot.app.export_screenshot()


def _is_filled(app: ArchonApp, name: str) -> bool:
    shown: Any = app.page
    return app.current_mode == name and len(shown.main_list.rows) > 0


if __name__ == "__main__":
    asyncio.run(shoot(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "screenshots"))
