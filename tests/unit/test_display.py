"""`display` must leave nothing in a line that a terminal would obey or hide."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.safety.display import ELLIPSIS, display

ANY_TEXT = st.text(st.characters(codec=None), max_size=60)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("src/main.py", "src/main.py"),
        ("naïve – 日本語 🦀", "naïve – 日本語 🦀"),
        ("heart ❤\ufe0f", "heart ❤\ufe0f"),
        ("back\\slash", "back\\slash"),
        ("", ""),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x00\x07\x7f", "\\x00\\x07\\x7f"),
        ("c1\x9b31m", "c1\\u009b31m"),
        ("exe\u202egnp.txt", "exe\\u202egnp.txt"),
        ("\u2066iso\u2069", "\\u2066iso\\u2069"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028para\u2029", "line\\u2028para\\u2029"),
        ("nb\u00a0sp", "nb\\u00a0sp"),
        ("filler\u3164", "filler\\u3164"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("selector\U000e0101", "selector\\U000e0101"),
        (b"caf\xe9.txt".decode("utf-8", "surrogateescape"), "caf\\xe9.txt"),
        ("lone\ud800", "lone\\ud800"),
    ],
)
def test_what_is_shown(raw: str, shown: str) -> None:
    assert display(raw) == shown


@given(ANY_TEXT, st.one_of(st.none(), st.integers(1, 80)))
def test_result_is_harmless_and_within_its_limit(text: str, limit: int | None) -> None:
    shown = display(text, limit)
    assert shown.isprintable()
    assert all(unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in shown)
    shown.encode("utf-8")
    if limit is not None:
        assert len(shown) <= limit


@given(ANY_TEXT)
def test_harmless_text_is_a_fixed_point(text: str) -> None:
    shown = display(text, None)
    assert display(shown, None) == shown


def test_long_text_keeps_its_ends() -> None:
    path = "very/" * 1000 + "name.py"
    shown = display(path, 40)
    assert len(shown) == 40
    assert shown.startswith("very/very/")
    assert shown.endswith("/name.py")
    assert ELLIPSIS in shown


def test_an_escape_is_never_cut_in_two() -> None:
    shown = display("\x1b" * 100, 14)
    assert shown == "\\x1b" + ELLIPSIS + "\\x1b"


def test_escapes_count_towards_the_limit() -> None:
    assert display("ab\x1bcd", 8) == "ab\\x1bcd"
    assert display("ab\x1bcd", 7) == "ab" + ELLIPSIS + "cd"
