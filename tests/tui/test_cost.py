"""Cost: rows against the plan, and the screen over a real history."""

from __future__ import annotations

from pathlib import Path

import pytest

from archon_tui.app import ArchonApp
from archon_tui.models.cost import SUM, detail, document, headline, known_once, rows
from archon_tui.screens.cost import CostPage
from archon_tui.session import Session
from core.assembly.stores import open_cost_history
from core.history.costs import CostRow
from core.settings.model import load
from core.settings.operations import CostSettings
from core.telemetry.cost import Usage, price
from core.telemetry.cost_meter import Account, Spent
from tests.tui.driving import until

RATES = CostSettings(storage_gb_month=2, transfer_gb=1, cpu_hour=3600, put_1000=0, get_1000=0)
GB = 10**9
HISTORY = [
    CostRow("inline", 4, 3, Usage(0, GB, cpu_seconds=2)),
    CostRow("object_storage", 1, 1, Usage(GB, GB)),
]


def test_rows_are_priced_and_summed() -> None:
    found = rows("strategy", HISTORY, RATES)
    assert [row.key for row in found] == ["inline", "object_storage", SUM]
    assert [row.cost.once for row in found] == [3, 1, 4]
    assert (found[-1].published, found[-1].processed, found[-1].cost.storage_month) == (5, 4, 2)
    assert [row.planned for row in found] == [None, None, None]


def test_one_row_needs_no_sum_and_none_has_none() -> None:
    assert [row.key for row in rows("day", HISTORY[:1], RATES)] == ["inline"]
    assert rows("day", [], RATES) == ()


def test_a_plan_stands_beside_what_was_spent_and_its_own_keys_cost_nothing_yet() -> None:
    plan = {"inline": Usage(0, 2 * GB), "git_reference": Usage(0, GB), "object_storage": Usage()}
    found = {row.key: row for row in rows("strategy", HISTORY, RATES, plan)}
    assert known_once(found["inline"].planned) == "$2.00"
    assert found["object_storage"].planned is None
    assert (found["git_reference"].cost.once, found["git_reference"].published) == (0, 0)
    assert known_once(found[SUM].planned) == "$3.00"
    assert document(found["inline"])["planned"] == price(Usage(0, 2 * GB), RATES).to_json()


def test_an_unmeasured_cpu_time_is_marked() -> None:
    assert known_once(price(Usage(0, GB, cpu_seconds=None), RATES)) == "≥ $1.00"
    assert known_once(None) == "–"


def test_the_headline_says_what_was_spent_and_that_there_is_no_plan() -> None:
    found = rows("strategy", HISTORY, RATES)
    said = [
        "".join(text for text, _ in line) for line in headline("strategy", found, "2026-01-01", None, None)
    ]
    assert said[0] == (
        " spent $4.00 once, $2.00 a month for storage · by strategy since 2026-01-01, on this machine"
    )
    assert "no plan is at hand" in said[1]


def test_the_detail_prices_every_component() -> None:
    found = rows("strategy", HISTORY, RATES, {"inline": Usage(0, GB)})
    said = ["".join(text for text, _ in line).split() for line in detail(found[0], RATES)]
    assert said[3] == ["transfer", "953.7", "MB", "$1.00", "per", "GB", "$1.00", "≤", "$1.00"]
    assert said[5] == ["compute", "2.0", "s", "CPU", "$3,600.00", "per", "hour", "$2.00", "≤", "$0"]


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_the_screen_groups_a_real_history_by_strategy_project_and_day(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    settings = load({"home": tmp_path}, environ={}).settings
    async with open_cost_history(settings) as history:
        account = Account("a[/b]", "inline", "job-1")
        await history.add("publish", {account: Spent(files=2, bytes=9, usage=Usage(0, 9))})
    app = ArchonApp(Session(settings), first="cost")
    async with app.run_test(size=size) as pilot:
        page = app.page
        assert isinstance(page, CostPage)
        for key in ("inline", "a[/b]", f"{app.session.now():%Y-%m-%d}"):
            await until(pilot, lambda key=key: [row.key for row in page.list.rows.all] == [key])  # type: ignore[misc]
            await pilot.press("t")
        await until(pilot, lambda: page.where() == "by strategy" and len(page.list.rows) == 1)
    await app.session.close()
