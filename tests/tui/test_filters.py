"""The filter language says yes and no as its help promises, and names what it does not understand."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from archon_tui.filters import Fields, FilterError, parse


class Row(NamedTuple):
    path: str
    size: int | None
    strategy: str


ROWS = (
    Row("src/Plan.py", 200_000, "object_storage storage"),
    Row("src/test_plan.py", 10, "inline"),
    Row("docs/a b.md", 0, "inline"),
    Row("gone.txt", None, "skip"),
)
FIELDS: Fields[Row] = Fields(
    text=lambda row: row.path, size=lambda row: row.size, named={"strategy": lambda row: row.strategy}
)


def found(query: str) -> list[str]:
    predicate = parse(query, FIELDS)
    return [row.path for row in ROWS if predicate is None or predicate(row)]


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("", ["src/Plan.py", "src/test_plan.py", "docs/a b.md", "gone.txt"]),
        ("plan", ["src/Plan.py", "src/test_plan.py"]),
        ("Plan", ["src/Plan.py"]),
        ("plan !test", ["src/Plan.py"]),
        (">100KB", ["src/Plan.py"]),
        ("<=10", ["src/test_plan.py", "docs/a b.md"]),
        ("=0", ["docs/a b.md"]),
        ("!>=0", ["gone.txt"]),
        ("strategy:storage", ["src/Plan.py"]),
        ("strategy:in", ["src/test_plan.py", "docs/a b.md"]),
        ('"a b"', ["docs/a b.md"]),
        ("!", []),
    ],
)
def test_queries(query: str, paths: list[str]) -> None:
    assert found(query) == paths


@pytest.mark.parametrize(
    ("query", "message"),
    [("colour:red", "there is no field colour: here are strategy:"), (">big", ">big: give a size")],
)
def test_what_makes_no_sense_is_named(query: str, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        parse(query, FIELDS)
