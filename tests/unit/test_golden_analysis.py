"""Every language's sample against what a person reads in it: lines, imports, symbols, complexity by hand.

`tests/samples/source/<language>.txt` is the source, `<language>.expected` what must be found.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from core.events.intelligence import FileAnalysis, Symbol
from core.intelligence.analyzer import analyze
from core.intelligence.base import FileToAnalyze
from core.intelligence.languages import GRAMMARS

SOURCES = Path(__file__).parent.parent / "samples" / "source"


def told(analysis: FileAnalysis) -> str:
    """The analysis in the form of the `.expected` files."""
    lines = analysis.lines
    assert lines is not None
    head = f"code {lines.code}, comment {lines.comment}, blank {lines.blank}"
    imports = [f"import {name}" for name in analysis.imports]
    return "\n".join([head, *imports, *map(_told, analysis.symbols)]) + "\n"


def _told(symbol: Symbol) -> str:
    text = f"{symbol.start_line}-{symbol.end_line} {'  ' * symbol.nesting}{symbol.kind} {symbol.name}"
    if symbol.parent is not None:
        text += f" of {symbol.parent}"
    if symbol.complexity is not None:
        text += f", complexity {symbol.complexity}"
    return text + (", documented" if symbol.documented else "")


@pytest.mark.parametrize("language", sorted(GRAMMARS))
def test_a_sample_of_the_language_is_understood(language: str) -> None:
    content = (SOURCES / f"{language}.txt").read_bytes()
    analysis = analyze(FileToAnalyze(f"sample.{language}", content, language))
    assert told(analysis) == (SOURCES / f"{language}.expected").read_text("utf-8")
    assert (analysis.parse_errors, analysis.truncated) == (0, ())
    assert analysis.scores.quality.value is not None
