"""Amounts in words, the same in every face."""

from __future__ import annotations

UNKNOWN = "–"
_SPANS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


def size(count: float | None) -> str:
    """Bytes for people: `0 B`, `12.1 KB`, `4.2 MB` (1 KB is 1,024 bytes); `–` for None."""
    if count is None:
        return UNKNOWN
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if round(count, 1) < 1024 or unit == "TB":
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    raise AssertionError


def duration(seconds: float | None) -> str:
    """Seconds for people: `340 ms`, `7.9 s`, `2 min 5 s`, `3 h`, `4 d 2 h`; `–` for None, `∞`."""
    if seconds is None:
        return UNKNOWN
    if seconds == float("inf"):
        return "∞"
    if round(seconds * 1000) < 1000:
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for length, unit, part, below in _SPANS:
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length:,} {unit}" + (f" {rest} {below}" if rest else "")
    raise AssertionError


def precise(seconds: float) -> str:
    """As `duration`, but with three digits below a second: `0.0312 ms`, `12.4 ms`."""
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else duration(seconds)


def count(number: float | None) -> str:
    """A number with thousands separators, `–` for None."""
    return UNKNOWN if number is None else f"{number:,.0f}"


def rate(per_second: float | None, unit: str = "") -> str:
    """Something per second: `12,400/s`, `0.4/s`; `–` for None."""
    if per_second is None:
        return UNKNOWN
    figure = f"{per_second:,.0f}" if per_second >= 10 or per_second == 0 else f"{per_second:.1f}"
    return f"{figure}{unit}/s"


def percent(part: float | None, whole: float | None) -> str:
    """`66 %`, `99.5 %` near the ends; `–` where the whole is unknown or nothing."""
    if part is None or not whole:
        return UNKNOWN
    share = 100 * part / whole
    return f"{share:.0f} %" if share in (0, 100) or 1 <= share <= 99 else f"{share:.1f} %"
