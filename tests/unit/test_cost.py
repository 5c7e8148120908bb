"""Cost arithmetic against cases worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.events.common import ContentStrategy
from core.settings.operations import CostSettings
from core.telemetry.cost import Usage, expected, price, total, usd
from tests.cost_page import BUDGET_USD, FILES, usages

RATES = CostSettings()
MB = 10**6


def test_25_mb_stored_for_a_month() -> None:
    # 0.025 GB x $0.023
    assert price(Usage(stored_bytes=25 * MB), RATES).storage_month == pytest.approx(0.000575)


def test_25_mb_moved_once() -> None:
    # 0.025 GB x $0.09
    assert price(Usage(transferred_bytes=25 * MB), RATES).transfer == pytest.approx(0.00225)


def test_requests_are_priced_by_the_thousand() -> None:
    # 500 x $0.005/1000 + 2,500 x $0.0004/1000
    assert price(Usage(puts=500, gets=2500), RATES).requests == pytest.approx(0.0035)


def test_an_hour_and_a_half_of_cpu() -> None:
    # 1.5 h x $0.0405
    assert price(Usage(cpu_seconds=5400), RATES).compute == pytest.approx(0.06075)


def test_a_thousand_objects_of_25_kb() -> None:
    usage = expected(ContentStrategy.OBJECT_STORAGE, 1000, 25 * MB, cpu_s_per_byte=2e-6)
    cost = price(usage, RATES)
    # transfer 0.00225, uploads 0.005, downloads 0.0004, cpu 50 s x 0.0405 / 3600 = 0.0005625
    assert cost.once == pytest.approx(0.0082125)
    assert cost.first_month == pytest.approx(0.0082125 + 0.000575)


def test_inline_content_moves_encoded_and_stores_nothing() -> None:
    usage = expected(ContentStrategy.INLINE, 10, 3000, encoded_bytes=4000, cpu_s_per_byte=0.0)
    assert usage == Usage(transferred_bytes=4000)


def test_git_references_move_raw_bytes_and_make_no_requests() -> None:
    usage = expected(ContentStrategy.GIT_REFERENCE, 10, 3000, encoded_bytes=99, cpu_s_per_byte=0.0)
    assert usage == Usage(transferred_bytes=3000)


def test_unknown_cpu_time_is_unknown_not_free() -> None:
    usage = expected(ContentStrategy.INLINE, 1, 1000)
    cost = price(usage, RATES)
    assert (cost.compute, cost.once, cost.first_month) == (None, None, None)
    assert "compute" not in cost.known
    assert (usage + Usage(cpu_seconds=3.0)).cpu_seconds is None


def test_rates_are_settings() -> None:
    rates = CostSettings(storage_gb_month=1, transfer_gb=0, cpu_hour=0, put_1000=0, get_1000=0)
    usage = Usage(stored_bytes=2 * 10**9, transferred_bytes=10**12, puts=10**6, cpu_seconds=1e6)
    assert price(usage, rates).first_month == 2


amounts = st.integers(0, 10**15)
any_usage = st.builds(Usage, amounts, amounts, amounts, amounts, st.integers(0, 10**9).map(float))


@given(any_usage, any_usage)
def test_the_price_of_a_sum_is_the_sum_of_the_prices(one: Usage, other: Usage) -> None:
    both = price(total([one, other]), RATES)
    apart = [price(one, RATES), price(other, RATES)]
    assert both.first_month == pytest.approx(sum(cost.first_month or 0.0 for cost in apart))


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "–"),
        (0, "$0"),
        (0.00002, "<$0.0001"),
        (0.0021, "$0.0021"),
        (0.5, "$0.5000"),
        (1234.5, "$1,234.50"),
    ],
)
def test_dollars_for_people(amount: float | None, text: str) -> None:
    assert usd(amount) == text


def test_a_typical_repository_stays_far_below_its_budget() -> None:
    months = [price(usage, RATES).first_month for usage in usages(FILES).values()]
    assert all(month is not None and month < BUDGET_USD / 10 for month in months)
