"""Scores, maturity and recommendations: plain arithmetic over a file's figures.

docs/intelligence.md gives every formula in words; a score that cannot be computed is None with the
reason. Nothing here reads the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Final, NamedTuple

from core.events.intelligence import LineCounts, Maturity, Score, Scores

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


class FunctionFigures(NamedTuple):
    """A function or method with a body: where it is, how long, how complex."""

    name: str
    line: int
    lines: int
    complexity: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What the scores are computed from.

    `outside` figures are of the code in no function. `undocumented` names those of the `documentable`
    definitions that lack documentation. `error_share` is the share of bytes not understood, 0 to 1.
    """

    lines: LineCounts
    functions: Sequence[FunctionFigures]
    outside_decisions: int
    outside_lines: int
    documentable: int
    undocumented: Sequence[str]
    markers: int
    error_share: float


def no_scores(reason: str) -> Scores:
    """Four scores that are None for the same `reason`."""
    none = Score(value=None, reason=reason)
    return Scores(quality=none, complexity=none, maintainability=none, documentation=none)


def compute(figures: Figures) -> Scores:
    """The four scores of a parsed file."""
    if figures.lines.code == 0:
        return no_scores("no line of code")
    if figures.error_share > ERROR_SHARE:
        return no_scores(f"the grammar does not understand {figures.error_share:.0%} of the file")
    complexity = _complexity(figures)
    maintainability = _maintainability(figures, complexity)
    documentation = _documentation(figures)
    parts = (maintainability, 0.4), (complexity, 0.3), (documentation, 0.3)
    understood = 1 - figures.error_share
    quality = understood * sum(weight * (part.value or 0) for part, weight in parts)
    return Scores(
        quality=_score(
            quality,
            maintainability=maintainability.value or 0,
            complexity=complexity.value or 0,
            documentation=documentation.value or 0,
            error_share=figures.error_share,
        ),
        complexity=complexity,
        maintainability=maintainability,
        documentation=documentation,
    )


def _complexity(figures: Figures) -> Score:
    """Mean of min(1, 10 / complexity) over the units, weighted by their lines."""
    units = [(function.lines, function.complexity) for function in figures.functions]
    if figures.outside_decisions or not units:
        units.append((max(1, figures.outside_lines), figures.outside_decisions + 1))
    return _score(
        sum(lines * min(1, COMPLEXITY_LIMIT / complexity) for lines, complexity in units)
        / sum(lines for lines, _ in units),
        functions=len(figures.functions),
        mean_complexity=sum(complexity for _, complexity in units) / len(units),
        max_complexity=max(complexity for _, complexity in units),
        over_limit=sum(complexity > COMPLEXITY_LIMIT for _, complexity in units),
    )


def _maintainability(figures: Figures, complexity: Score) -> Score:
    """Geometric mean of the complexity score, the function length score and the file length score."""
    lengths = [function.lines for function in figures.functions]
    function_length = (
        sum(lines * min(1, FUNCTION_LINES / lines) for lines in lengths) / sum(lengths) if lengths else 1.0
    )
    file_length = min(1.0, FILE_LINES / figures.lines.code)
    return _score(
        prod((complexity.value or 0, function_length, file_length)) ** (1 / 3),
        complexity=complexity.value or 0,
        function_length=function_length,
        file_length=file_length,
        code_lines=figures.lines.code,
        longest_function_lines=max(lengths, default=0),
    )


def _documentation(figures: Figures) -> Score:
    """0.8 of the documented share plus 0.2 of the comment density; without definitions the density alone."""
    comment, code = figures.lines.comment or 0, figures.lines.code
    comment_share = comment / (code + comment)
    density = min(1.0, comment_share / COMMENT_SHARE)
    total = figures.documentable
    documented = total - len(figures.undocumented)
    return _score(
        0.8 * documented / total + 0.2 * density if total else density,
        documentable=total,
        documented=documented,
        comment_share=comment_share,
    )


def _score(value: float, **inputs: float) -> Score:
    return Score(
        value=round(min(1.0, max(0.0, value)), 4),
        inputs={name: round(figure, 4) for name, figure in inputs.items()},
    )


def maturity(figures: Figures, scores: Scores) -> tuple[Maturity | None, str]:
    """How finished the file looks, and the rule that decided; None where quality is None."""
    quality, documentation = scores.quality.value, scores.documentation.value
    if quality is None or documentation is None:
        return None, scores.quality.reason or "no quality score"
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


def recommendations(figures: Figures, scores: Scores) -> tuple[str, ...]:
    """What to do about the figures that cost most, in whole sentences, worst first."""
    if scores.quality.value is None:
        return ()
    advice: list[str] = []
    by_complexity = sorted(figures.functions, key=lambda function: -function.complexity)
    complex_ = [function for function in by_complexity if function.complexity > COMPLEXITY_LIMIT]
    advice += [
        f"Split {function.name} (line {function.line}): "
        f"its complexity is {function.complexity}, the limit is {COMPLEXITY_LIMIT}."
        for function in complex_[:_COMPLEX_NAMED]
    ]
    if len(complex_) > _COMPLEX_NAMED:
        advice.append(f"{_count(len(complex_) - _COMPLEX_NAMED, 'more function')} above that limit.")
    if figures.functions:
        longest = max(figures.functions, key=lambda function: function.lines)
        if longest.lines > FUNCTION_LINES:
            advice.append(
                f"Shorten {longest.name} (line {longest.line}): "
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
    return tuple(advice)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
