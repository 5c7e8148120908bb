"""Scores, maturity and recommendations: plain arithmetic over a file's figures.

docs/intelligence.md gives every formula in words; a score that cannot be computed is None with the
reason. Nothing here reads the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

from core.events.intelligence import LineCounts, Maturity
from core.intelligence.symbols import Definition

COMPLEXITY_LIMIT: Final = 10
"""McCabe's own limit for one function (A Complexity Measure, 1976)."""

FUNCTION_LINES: Final = 60
"""Lines of a function that fit on one printed page (Holzmann, The Power of Ten, rule 4)."""

FILE_LINES: Final = 500
"""Code lines of a file that still reads as one thing."""

COMMENT_SHARE: Final = 0.1
"""Share of comment lines among code and comment from which more comments earn nothing."""

ERROR_SHARE: Final = 0.5
"""Share of a file's bytes the grammar may fail to understand before no score is given."""

STUB_LINES: Final = 5
_UNDOCUMENTED_NAMED: Final = 3
_COMPLEX_NAMED: Final = 3


class ScoreRecord(TypedDict):
    """The fields of a `core.events.intelligence.Score`, in its order."""

    value: float | None
    reason: str | None
    inputs: dict[str, float]


class ScoresRecord(TypedDict):
    """The fields of `core.events.intelligence.Scores`, in its order."""

    quality: ScoreRecord
    complexity: ScoreRecord
    maintainability: ScoreRecord
    documentation: ScoreRecord


@dataclass(frozen=True, slots=True)
class Figures:
    """What the scores are computed from.

    `outside` figures are of the code in no function. `undocumented` names those of the `documentable`
    definitions that lack documentation. `error_share` is the share of bytes not understood, 0 to 1.
    """

    lines: LineCounts
    functions: Sequence[Definition]
    outside_decisions: int
    outside_lines: int
    documentable: int
    undocumented: Sequence[str]
    markers: int
    error_share: float


def no_scores(reason: str) -> ScoresRecord:
    """Four scores that are None for the same `reason`."""
    none: ScoreRecord = {"value": None, "reason": reason, "inputs": {}}
    return {"quality": none, "complexity": none, "maintainability": none, "documentation": none}


def compute(figures: Figures) -> ScoresRecord:
    """The four scores of a parsed file."""
    if figures.lines.code == 0:
        return no_scores("no line of code")
    if figures.error_share > ERROR_SHARE:
        return no_scores(f"the grammar does not understand {figures.error_share:.0%} of the file")
    lengths = [function.lines for function in figures.functions]
    complexities = [function.decisions + 1 for function in figures.functions]
    simple, complexity = _complexity(figures, lengths, complexities)
    maintainable, maintainability = _maintainability(figures, lengths, simple)
    documented, documentation = _documentation(figures)
    quality = (1 - figures.error_share) * (0.4 * maintainable + 0.3 * simple + 0.3 * documented)
    inputs = {
        "maintainability": maintainable,
        "complexity": simple,
        "documentation": documented,
        "error_share": figures.error_share,
    }
    return {
        "quality": _score(quality, inputs),
        "complexity": complexity,
        "maintainability": maintainability,
        "documentation": documentation,
    }


def _complexity(
    figures: Figures, lengths: Sequence[int], complexities: Sequence[int]
) -> tuple[float, ScoreRecord]:
    """Mean of min(1, 10 / complexity) over functions and the code outside them, weighted by lines."""
    if figures.outside_decisions or not lengths:
        lengths = [*lengths, max(1, figures.outside_lines)]
        complexities = [*complexities, figures.outside_decisions + 1]
    worst = max(complexities)
    value = 1.0
    if worst > COMPLEXITY_LIMIT:
        weighted = sum(
            lines * min(1.0, COMPLEXITY_LIMIT / complexity)
            for lines, complexity in zip(lengths, complexities, strict=True)
        )
        value = weighted / sum(lengths)
    inputs = {
        "functions": len(figures.functions),
        "mean_complexity": sum(complexities) / len(complexities),
        "max_complexity": worst,
        "over_limit": sum(complexity > COMPLEXITY_LIMIT for complexity in complexities),
    }
    return value, _score(value, inputs)


def _maintainability(figures: Figures, lengths: Sequence[int], simple: float) -> tuple[float, ScoreRecord]:
    """Geometric mean of the scores of complexity, of function length and of file length."""
    longest = max(lengths, default=0)
    function_length = 1.0
    if longest > FUNCTION_LINES:
        # A function of 60 lines or more weighs its lines times 60 through its lines: 60.
        function_length = sum(min(lines, FUNCTION_LINES) for lines in lengths) / sum(lengths)
    file_length = min(1.0, FILE_LINES / figures.lines.code)
    value = (simple * function_length * file_length) ** (1 / 3)
    inputs = {
        "complexity": simple,
        "function_length": function_length,
        "file_length": file_length,
        "code_lines": figures.lines.code,
        "longest_function_lines": longest,
    }
    return value, _score(value, inputs)


def _documentation(figures: Figures) -> tuple[float, ScoreRecord]:
    """0.8 of the documented share plus 0.2 of the comment density; without definitions the density alone."""
    comment, code = figures.lines.comment or 0, figures.lines.code
    comment_share = comment / (code + comment)
    value = min(1.0, comment_share / COMMENT_SHARE)
    documented = figures.documentable - len(figures.undocumented)
    if figures.documentable:
        value = 0.8 * documented / figures.documentable + 0.2 * value
    inputs = {
        "documentable": figures.documentable,
        "documented": documented,
        "comment_share": comment_share,
    }
    return value, _score(value, inputs)


def _score(value: float, inputs: dict[str, float]) -> ScoreRecord:
    rounded = {name: round(figure, 4) for name, figure in inputs.items()}
    return {"value": round(value, 4), "reason": None, "inputs": rounded}


def maturity(figures: Figures, scores: ScoresRecord) -> tuple[Maturity | None, str]:
    """How finished the file looks, and the rule that decided; None where quality is None."""
    quality, documentation = scores["quality"]["value"], scores["documentation"]["value"]
    if quality is None or documentation is None:
        return None, scores["quality"]["reason"] or "no quality score"
    code, markers = figures.lines.code, figures.markers
    if code < STUB_LINES:
        return "stub", f"fewer than {STUB_LINES} lines of code"
    if quality < 0.5:
        return "early", f"quality {quality:.2f} is below 0.50"
    if markers * 50 > code:
        return "early", f"{markers} TODO or FIXME marks in {code} lines of code, more than one in 50"
    if quality < 0.75:
        return "developing", f"quality {quality:.2f} is below 0.75"
    if documentation < 0.5:
        return "developing", f"documentation {documentation:.2f} is below 0.50"
    if markers:
        return "developing", f"{_count(markers, 'TODO or FIXME mark')} left"
    return "mature", f"quality {quality:.2f}, documentation {documentation:.2f}, no TODO or FIXME mark"


def recommendations(figures: Figures, scores: ScoresRecord) -> list[str]:
    """What to do about the figures that cost most, in whole sentences, worst first."""
    if scores["quality"]["value"] is None:
        return []
    advice: list[str] = []
    complex_ = [function for function in figures.functions if function.decisions >= COMPLEXITY_LIMIT]
    complex_.sort(key=lambda function: -function.decisions)
    advice += [
        f"Split {function.name} (line {function.first + 1}): "
        f"its complexity is {function.decisions + 1}, the limit is {COMPLEXITY_LIMIT}."
        for function in complex_[:_COMPLEX_NAMED]
    ]
    if len(complex_) > _COMPLEX_NAMED:
        advice.append(f"{_count(len(complex_) - _COMPLEX_NAMED, 'more function')} above that limit.")
    longest = max(figures.functions, key=lambda function: function.lines, default=None)
    if longest is not None and longest.lines > FUNCTION_LINES:
        advice.append(
            f"Shorten {longest.name} (line {longest.first + 1}): "
            f"{longest.lines} lines, more than {FUNCTION_LINES}."
        )
    if figures.lines.code > FILE_LINES:
        advice.append(f"Split the file: {figures.lines.code} lines of code, more than {FILE_LINES}.")
    if undocumented := figures.undocumented:
        names = ", ".join(undocumented[:_UNDOCUMENTED_NAMED])
        more = ", …" if len(undocumented) > _UNDOCUMENTED_NAMED else ""
        advice.append(f"Document {_count(len(undocumented), 'definition')}: {names}{more}.")
    if figures.markers:
        advice.append(f"Settle {_count(figures.markers, 'TODO or FIXME mark')}.")
    if figures.error_share:
        advice.append(f"Check the syntax: {figures.error_share:.1%} of the file was not understood.")
    return advice


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
