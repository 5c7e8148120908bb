"""Training finds what the history tells, and its judgement is that of the files that were held out."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from core.errors import UsageError
from core.history.store import Observation
from core.history.training import Evaluation, Money, evaluate, size_class, train
from core.settings.operations import CostSettings
from core.settings.sections import SelectorSettings
from core.strategies.model import Leaf, Split

FREE = CostSettings(storage_gb_month=0, transfer_gb=0, cpu_hour=0, put_1000=0, get_1000=0)
MONEY = Money(SelectorSettings(min_files=50), FREE)


def seen(
    number: int, at: int, strategy: str, cost_s: float, *, size: int = 1000, outcome: str = "ok"
) -> Observation:
    return Observation(
        f"job{at}", number, float(at), "p", strategy, "b", "work_tree", "inline,object_storage",
        size + number, "python", "py", "utf-8", cost_s / 2, None, 1200, strategy, cost_s / 2, None, 1, 0,
        outcome,
    )  # fmt: skip


def history(inline: float, storage: float, *, later: tuple[float, float] | None = None) -> list[Observation]:
    """100 files by either strategy in each of 10 rounds; the last 3 may cost `later`."""
    rows: list[Observation] = []
    for at in range(10):
        costs = later if later and at >= 7 else (inline, storage)
        for number in range(100):
            noise = 1 + (number % 7 - 3) / 100
            rows.append(seen(number, at, "inline", costs[0] * noise))
            rows.append(seen(number, at, "object_storage", costs[1] * noise))
    return rows


def judge(rows: list[Observation]) -> Evaluation:
    return evaluate(rows, MONEY, clock=time.perf_counter)


def test_a_tree_says_what_the_history_says() -> None:
    rows = [seen(number, number, "inline", 0.1) for number in range(100)]
    rows += [seen(number, number, "inline", 0.9, size=80_000) for number in range(100, 200)]
    (learned,) = train(rows, MONEY).trees.values()
    tree = learned.root
    assert (learned.smallest, learned.largest, learned.kinds) == (1000, 80_199, ("text",))
    assert isinstance(tree, Split)
    assert isinstance(tree.low, Leaf)
    assert isinstance(tree.high, Leaf)
    assert tree.feature == "log2_size"
    assert (round(tree.low.cost_s, 6), round(tree.high.cost_s, 6)) == (0.1, 0.9)


def test_failures_are_shares_not_costs() -> None:
    rows = [
        seen(number, number, "inline", 0.1, outcome="ok" if number % 4 else "lost") for number in range(100)
    ]
    (learned,) = train(rows, MONEY).trees.values()
    tree = learned.root
    leaves = [tree] if isinstance(tree, Leaf) else []
    while isinstance(tree, Split):
        leaves += [side for side in (tree.low, tree.high) if isinstance(side, Leaf)]
        tree = tree.high if isinstance(tree.high, Split) else tree.low
    assert all(leaf.cost_s == pytest.approx(0.1) for leaf in leaves)
    assert any(leaf.failure > 0.1 for leaf in leaves)


def test_dollars_count_at_the_rate() -> None:
    stored = seen(1, 1, "object_storage", 0.0, size=10**9)
    per_hour = [
        Money(SelectorSettings(usd_per_hour=rate), CostSettings()).seconds(stored) for rate in (1.0, 10.0)
    ]
    assert per_hour[0] == pytest.approx(10 * per_hour[1])
    assert per_hour[1] == pytest.approx((0.023 + 0.005 / 1000 + 0.0004 / 1000) * 360, rel=0.01)


def test_too_little_history_says_how_much_there_is() -> None:
    with pytest.raises(UsageError, match="inline b: 10"):
        train([seen(number, number, "inline", 0.1) for number in range(10)], MONEY)


def test_stand_ins_teach_nothing() -> None:
    rows = [replace(seen(number, 1, "inline", 0.1), wanted="object_storage") for number in range(100)]
    with pytest.raises(UsageError, match="too little history"):
        train(rows, MONEY)


def test_where_the_rules_are_wrong_the_model_saves_what_there_is_to_save() -> None:
    judged = judge(history(inline=0.1, storage=0.02))
    assert judged.verdict is None
    assert judged.whole
    assert judged.whole.cases == 100
    assert judged.whole.ratio == pytest.approx(0.2, rel=0.01)
    assert judged.whole.model_s == pytest.approx(judged.whole.oracle_s)
    low, high = judged.whole.ratio_95
    assert low <= judged.whole.ratio <= high
    low, high = judged.whole.rules_regret_95
    assert 0 < low <= judged.whole.rules_regret_s <= high
    assert judged.whole.model_regret_95 == pytest.approx((0, 0))


def test_where_the_rules_are_right_the_model_agrees() -> None:
    judged = judge(history(inline=0.02, storage=0.1))
    assert judged.whole
    assert judged.whole.ratio == 1
    assert judged.verdict is None


def test_a_model_that_the_newest_files_contradict_is_refused() -> None:
    judged = judge(history(inline=0.1, storage=0.02, later=(0.02, 0.1)))
    assert judged.whole
    assert judged.whole.ratio == pytest.approx(5, rel=0.01)
    assert "costs 400.0% more than the rules" in (judged.verdict or "")


def test_a_history_without_comparisons_is_no_judgement() -> None:
    rows = [seen(number, number, "inline", 0.1) for number in range(300)]
    judged = judge(rows)
    assert judged.whole is None
    assert "known under several strategies" in (judged.verdict or "")


def test_the_split_is_by_time() -> None:
    assert judge(history(0.1, 0.02)).held_out == 600


@pytest.mark.parametrize(
    ("size", "name"), [(0, "up to 1 KB"), (1024, "up to 1 KB"), (102_401, "over 100 KB")]
)
def test_size_classes(size: int, name: str) -> None:
    assert size_class(size) == name
