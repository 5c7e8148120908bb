"""Retry-After, as hosts send it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from core.retry_after import LONGEST_S, retry_after

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("86400", LONGEST_S),
        ("9" * 5000, LONGEST_S),
        ("Mon, 05 Jan 2026 12:00:30 GMT", 30.0),
        ("Mon, 05 Jan 2026 12:00:30 -0000", 30.0),
        ("Mon, 05 Jan 2026 11:00:00 GMT", 0.0),
        ("Tue, 06 Jan 2026 12:00:00 GMT", LONGEST_S),
    ],
)
def test_seconds_to_wait(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds
