"""Scores, maturity and recommendations from figures; the expected values are worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.events.intelligence import LineCounts, Scores
from core.intelligence.scores import Figures, compute, maturity, no_scores, recommendations
from core.intelligence.symbols import Definition


def function(lines: int, complexity: int, name: str = "f", line: int = 1) -> Definition:
    return Definition(
        kind="function",
        name=name,
        start=0,
        end=1,
        first=line - 1,
        last=line + lines - 2,
        has_body=True,
        is_function=True,
        within=None,
        around=None,
        nesting=0,
        decisions=complexity - 1,
    )


def figures(*functions: Definition, code: int = 100, comment: int = 20, **more: Any) -> Figures:
    given: dict[str, Any] = {
        "outside_decisions": 0,
        "outside_lines": 10,
        "documentable": 0,
        "undocumented": (),
        "markers": 0,
        "error_share": 0.0,
        **more,
    }
    lines = LineCounts(total=code + comment, code=code, comment=comment, blank=0)
    return Figures(lines=lines, functions=functions, **given)


def score(of: Figures, name: str) -> tuple[float | None, dict[str, int | float]]:
    scores = Scores.model_validate(compute(of))
    found = getattr(scores, name)
    return found.value, found.inputs


def test_a_simple_function_is_not_complex() -> None:
    assert score(figures(function(10, 10)), "complexity") == (
        1.0,
        {"functions": 1, "mean_complexity": 10, "max_complexity": 10, "over_limit": 0},
    )


def test_complexity_weighs_functions_by_their_lines() -> None:
    # (30 * 1 + 10 * 10/20) / 40
    value, inputs = score(figures(function(30, 2), function(10, 20)), "complexity")
    assert value == 0.875
    assert inputs == {"functions": 2, "mean_complexity": 11, "max_complexity": 20, "over_limit": 1}


def test_code_outside_functions_counts_where_it_decides() -> None:
    # (10 * 1 + 30 * 10/40) / 40
    decided = figures(function(10, 1), outside_decisions=39, outside_lines=30)
    assert score(decided, "complexity")[0] == 0.4375
    plain = figures(function(10, 1), outside_decisions=0, outside_lines=30)
    assert score(plain, "complexity")[1]["functions"] == 1
    assert score(plain, "complexity")[0] == 1.0


def test_a_script_without_functions_is_one_unit() -> None:
    value, inputs = score(figures(outside_decisions=19, outside_lines=50), "complexity")
    assert value == 0.5
    assert inputs == {"functions": 0, "mean_complexity": 20, "max_complexity": 20, "over_limit": 1}


def test_maintainability_is_a_geometric_mean() -> None:
    # complexity 0.5, function length (60 + 20) / (140 + 20) = 0.5, file length 500 / 1000 = 0.5
    of = figures(function(140, 20), function(20, 20), code=1000)
    value, inputs = score(of, "maintainability")
    assert value == 0.5
    assert inputs == {
        "complexity": 0.5,
        "function_length": 0.5,
        "file_length": 0.5,
        "code_lines": 1000,
        "longest_function_lines": 140,
    }


def test_documentation_is_mostly_the_documented_share() -> None:
    # 0.8 * 3/4 + 0.2 * min(1, 0.05 / 0.1)
    of = figures(code=95, comment=5, documentable=4, undocumented=["g"])
    assert score(of, "documentation") == (
        0.7,
        {"documentable": 4, "documented": 3, "comment_share": 0.05},
    )


def test_without_definitions_documentation_is_the_density_of_comments() -> None:
    assert score(figures(code=98, comment=2), "documentation")[0] == 0.2
    assert score(figures(code=80, comment=20), "documentation")[0] == 1.0


def test_quality_weighs_the_others_and_what_was_not_understood() -> None:
    # complexity and maintainability 1, documentation 0: 0.9 * (0.4 + 0.3)
    of = figures(comment=0, documentable=2, undocumented=["f", "g"], error_share=0.1)
    value, inputs = score(of, "quality")
    assert value == 0.63
    assert inputs == {"maintainability": 1, "complexity": 1, "documentation": 0, "error_share": 0.1}


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        (figures(code=0), "no line of code"),
        (figures(error_share=0.51), "the grammar does not understand 51% of the file"),
    ],
)
def test_a_score_that_cannot_be_computed_is_none_with_the_reason(of: Figures, reason: str) -> None:
    scores = Scores.model_validate(compute(of))
    assert {(score.value, score.reason) for _, score in scores} == {(None, reason)}
    assert maturity(of, compute(of)) == (None, reason)
    assert recommendations(of, compute(of)) == []


@given(
    functions=st.lists(st.builds(function, st.integers(1, 5000), st.integers(1, 5000)), max_size=5),
    code=st.integers(1, 100_000),
    comment=st.integers(0, 100_000),
    decisions=st.integers(0, 1000),
    error_share=st.floats(0, 1),
    documentable=st.integers(0, 10),
)
def test_every_score_is_between_nothing_and_one(
    functions: list[Definition],
    code: int,
    comment: int,
    decisions: int,
    error_share: float,
    documentable: int,
) -> None:
    of = figures(
        *functions,
        code=code,
        comment=comment,
        outside_decisions=decisions,
        error_share=error_share,
        documentable=documentable,
        undocumented=["x"] * (documentable // 2),
    )
    scores = Scores.model_validate(compute(of))  # the model holds values to [0, 1]
    assert (scores.quality.value is None) == (error_share > 0.5)
    level, why = maturity(of, compute(of))
    assert (level is None) == (scores.quality.value is None)
    assert why


def graded(quality: float, documentation: float = 1.0) -> Any:
    scores = compute(figures())
    scores["quality"] = {**scores["quality"], "value": quality}
    scores["documentation"] = {**scores["documentation"], "value": documentation}
    return scores


@pytest.mark.parametrize(
    ("of", "scores", "level", "why"),
    [
        (figures(code=4), graded(1.0), "stub", "fewer than 5 lines of code"),
        (figures(code=5), graded(0.49), "early", "quality 0.49 is below 0.50"),
        (
            figures(markers=3),
            graded(0.9),
            "early",
            "3 TODO or FIXME marks in 100 lines of code, more than one in 50",
        ),
        (figures(), graded(0.74), "developing", "quality 0.74 is below 0.75"),
        (figures(), graded(0.9, 0.4), "developing", "documentation 0.40 is below 0.50"),
        (figures(markers=1), graded(0.9), "developing", "1 TODO or FIXME mark left"),
        (
            figures(),
            graded(0.75, 0.5),
            "mature",
            "quality 0.75, documentation 0.50, no TODO or FIXME mark",
        ),
        (figures(), no_scores("the file is binary"), None, "the file is binary"),
    ],
)
def test_maturity_tells_the_rule_that_decided(of: Figures, scores: Any, level: str | None, why: str) -> None:
    assert maturity(of, scores) == (level, why)


def test_a_good_file_gets_no_advice() -> None:
    of = figures(function(60, 10), code=500)
    assert recommendations(of, compute(of)) == []


def test_advice_names_the_worst_first() -> None:
    of = figures(
        *[function(10, complexity, f"f{complexity}", complexity) for complexity in (11, 30, 12, 20, 13, 2)],
        function(61, 1, "long", 7),
        code=501,
        documentable=9,
        undocumented=["a", "b", "c", "d"],
        markers=2,
        error_share=0.015,
    )
    assert recommendations(of, compute(of)) == [
        "Split f30 (line 30): its complexity is 30, the limit is 10.",
        "Split f20 (line 20): its complexity is 20, the limit is 10.",
        "Split f13 (line 13): its complexity is 13, the limit is 10.",
        "2 more functions above that limit.",
        "Shorten long (line 7): 61 lines, more than 60.",
        "Split the file: 501 lines of code, more than 500.",
        "Document 4 definitions: a, b, c, ….",
        "Settle 2 TODO or FIXME marks.",
        "Check the syntax: 1.5% of the file was not understood.",
    ]
