"""docs/intelligence.md says what the code does: the table of languages and every limit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.intelligence import analyzer, pool, scores, symbols
from core.intelligence.languages import COMMENTS, GRAMMARS, Grammar, query_source

DOCUMENT = Path(__file__).parents[2] / "docs" / "intelligence.md"
SAMPLES = Path(__file__).parents[1] / "samples" / "source"


def row(language: str, grammar: Grammar) -> str:
    """The language's line in the table: the kinds its sample proves, the rest from its query."""
    query = query_source(grammar)
    sample = (SAMPLES / f"{language}.expected").read_text("utf-8")
    kinds = dict.fromkeys(re.findall(r"^[\d-]+ +(\w+)", sample, re.MULTILINE))
    documented = ["docstring"] * ("@docstring" in query) + [
        _code(each.decode()) for each in grammar.documentation
    ]
    imports = ["statements"] * bool(re.search(r"@import(?!\.)", query))
    imports += [_code(call.decode()) for call in sorted(grammar.import_calls)]
    columns = [language, ", ".join(sorted(kinds)), " ".join(documented), " ".join(imports), _decisions(query)]
    return f"| {' | '.join(columns)} |"


def _decisions(query: str) -> str:
    listed = re.findall(r"^\[([^\]]*)\] @decision$", query, re.MULTILINE)
    points = [token for tokens in listed for token in re.findall(r'"([^"]+)"', tokens)]
    points += re.findall(r"^\((\w+)[^@\n]*\)? @decision\)?$", query, re.MULTILINE)
    points += ["&&", "||"] * ("@decision.operator" in query)
    return " ".join(map(_code, dict.fromkeys(points)))


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


@pytest.mark.parametrize("language", sorted(GRAMMARS))
def test_the_table_says_what_the_query_finds(language: str) -> None:
    assert row(language, GRAMMARS[language]) in DOCUMENT.read_text("utf-8").splitlines()


def test_languages_whose_lines_are_counted_are_all_named() -> None:
    (named,) = re.findall(r"comments are known: ([^.]*)\.", DOCUMENT.read_text("utf-8"))
    assert named.replace("\n", " ").split(", ") == sorted(COMMENTS)


@pytest.mark.parametrize(
    "sentence",
    [
        f"analyzer version {analyzer.ANALYZER_VERSION}",
        f"min(1, {scores.COMPLEXITY_LIMIT} / complexity)",
        f"min(1, {scores.FUNCTION_LINES} / lines)",
        f"min(1, {scores.FILE_LINES} / code lines)",
        f"min(1, comment share / {scores.COMMENT_SHARE})",
        f"more than {scores.ERROR_SHARE:.0%} of its bytes",
        f"fewer than {scores.STUB_LINES} lines of code",
        f"{analyzer.PARSE_LIMIT >> 20} MiB",
        f"{symbols.MAX_SYMBOLS:,} symbols",
        f"{symbols.MAX_IMPORTS} imports",
        f"{symbols.MAX_NAME} characters",
        f"{pool.DEADLINE_S:g} s",
        f"{pool.MEMORY_LIMIT >> 30} GiB",
        f"{pool.GROUP_FILES} files or {pool.GROUP_BYTES >> 10} KiB",
    ],
)
def test_every_limit_is_told(sentence: str) -> None:
    assert sentence in DOCUMENT.read_text("utf-8")
