"""The pane that says why: who chose, how sure, and what each strategy is expected to cost."""

from __future__ import annotations

from pathlib import Path

from archon_tui.app import ArchonApp
from core.history.selection import activate
from tests.integration.test_selection import make_model
from tests.repositories import commit
from tests.tui.driving import chosen, page, session_for, until, view


async def test_the_pane_names_the_model_and_the_costs_it_expects(tmp_path: Path) -> None:
    root = commit(tmp_path / "shop", {"a.py": b"x = 1\n" * 20})
    session = session_for(tmp_path / "home", root)
    model = await make_model(session.settings, root, 0.1, 0.01)
    activate(model, session.settings)
    session.choose(chosen(root))
    app = ArchonApp(session, first="plan")
    async with app.run_test(size=(160, 40)) as pilot:
        await until(pilot, lambda: session.plan and session.plan.is_complete)
        await until(pilot, lambda: page(pilot).files.current)
        await pilot.press("w")
        await until(pilot, lambda: "selector: " in view(page(pilot), "#side"))
        shown = view(page(pilot), "#side")
    await session.close()
    assert f"selector: learned, model {model.id}, 100% sure" in shown
    assert "expected 100 ms" in shown
    assert "expected 10 ms" in shown


async def test_without_a_model_the_pane_says_why_the_rules_choose(tmp_path: Path) -> None:
    root = commit(tmp_path / "shop", {"a.py": b"x = 1\n"})
    session = session_for(tmp_path / "home", root)
    session.choose(chosen(root))
    app = ArchonApp(session, first="plan")
    async with app.run_test(size=(160, 40)) as pilot:
        await until(pilot, lambda: session.plan and session.plan.is_complete)
        await until(pilot, lambda: page(pilot).files.current)
        await pilot.press("w")
        await until(pilot, lambda: "selector: rules: there is no model yet" in view(page(pilot), "#side"))
    await session.close()
