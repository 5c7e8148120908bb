"""Reads the Retry-After header of HTTP answers."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST_S: Final = 300.0
"""A host may ask for days; after this many seconds it is asked again all the same."""


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110, 10.2.3), at most `LONGEST_S`; None without one.

    The header holds seconds or a date; `now` is for dates. Anything else counts as no header.
    """
    if not value:
        return None
    if (text := value.strip()).isdecimal():
        # Longer numbers are past the limit, and past what int() takes.
        return LONGEST_S if len(text) > 9 else min(float(text), LONGEST_S)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max(0.0, (aware - (now or datetime.now(UTC))).total_seconds()), LONGEST_S)
