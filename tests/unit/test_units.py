"""Amounts read the same everywhere, and never claim more than is known."""

from __future__ import annotations

import pytest

from core import units


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "–"),
        (0, "0 B"),
        (1023, "1,023 B"),
        (1024, "1.0 KB"),
        (12_390, "12.1 KB"),
        (1024 * 1024 - 1, "1.0 MB"),
        (5 << 30, "5.0 GB"),
        (3 << 50, "3,072.0 TB"),
    ],
)
def test_size(count: float | None, text: str) -> None:
    assert units.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0 ms"),
        (0.34, "340 ms"),
        (0.9996, "1.0 s"),
        (7.94, "7.9 s"),
        (59.96, "1 min"),
        (125, "2 min 5 s"),
        (12_000, "3 h 20 min"),
        (86_400, "1 d"),
        (352_800, "4 d 2 h"),
        (float("inf"), "∞"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert units.duration(seconds) == text


def test_rates_counts_and_shares() -> None:
    assert [units.rate(value) for value in (None, 0, 0.42, 12_400.3)] == ["–", "0/s", "0.4/s", "12,400/s"]
    assert [units.count(value) for value in (None, 0, 98_311)] == ["–", "0", "98,311"]
    assert [units.percent(*pair) for pair in ((None, 5), (1, 0), (0, 5), (118, 180), (999, 1000))] == [
        "–",
        "–",
        "0 %",
        "66 %",
        "99.9 %",
    ]
