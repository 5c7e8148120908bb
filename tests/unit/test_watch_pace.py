"""When a watched repository is looked at again, and what a look asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.watching.model import Ingested, Watched, Work, work_for
from core.watching.pace import JITTER, Pace

SHOP = Watched("https://git.example.com/shop", "shop", "main")


@pytest.mark.parametrize(("drawn", "expected"), [(0.0, 54.0), (0.5, 60.0), (1.0, 66.0)])
def test_looks_are_spread_about_the_interval(drawn: float, expected: float) -> None:
    assert Pace(60, 1800, lambda: drawn).wait(0) == pytest.approx(expected)


def test_failures_double_the_wait_up_to_the_longest() -> None:
    pace = Pace(60, 1800, lambda: 1.0)
    assert [pace.wait(failures) for failures in range(1, 8)] == [60, 120, 240, 480, 960, 1800, 1800]
    halved = Pace(60, 1800, lambda: 0.0)
    assert [halved.wait(failures) for failures in (1, 2, 10_000)] == [30, 60, 900]


def test_what_a_host_asks_for_is_kept_to() -> None:
    assert Pace(60, 1800, lambda: 1.0).wait(1, 7200.0) == 7200


@given(
    interval=st.floats(1, 1e6),
    longest=st.floats(1, 1e6),
    failures=st.integers(0, 1 << 40),
    drawn=st.floats(0, 1),
)
def test_a_wait_is_never_short_and_never_past_its_limit(
    interval: float, longest: float, failures: int, drawn: float
) -> None:
    wait = Pace(interval, longest, lambda: drawn).wait(failures)
    assert interval * 0.5 <= wait <= max(longest, interval) * (1 + JITTER)


@pytest.mark.parametrize(
    ("ingested", "work"),
    [
        (None, Work.FULL),
        (Ingested(SHOP.url, "main", "a" * 40, 1.0), Work.NONE),
        (Ingested(SHOP.url, "main", "b" * 40, 1.0), Work.DELTA),
        (Ingested(SHOP.url, "next", "a" * 40, 1.0), Work.FULL),
        (Ingested(SHOP.url, None, "a" * 40, 1.0), Work.FULL),
        (Ingested("https://git.example.com/other", "main", "a" * 40, 1.0), Work.FULL),
    ],
)
def test_what_a_look_asks_for(ingested: Ingested | None, work: Work) -> None:
    assert work_for(SHOP, ingested, "a" * 40) is work
