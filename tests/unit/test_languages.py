"""Every grammar loads, and its query compiles and says only what the analyzer understands."""

from __future__ import annotations

import re

import pytest

from core.intelligence.languages import COMMENTS, GRAMMARS, compiled, query_source
from core.repository.languages import language_of

EXAMPLES = {
    "bash": "a.sh",
    "c": "a.c",
    "cpp": "a.cc",
    "csharp": "a.cs",
    "go": "a.go",
    "java": "A.java",
    "javascript": "a.mjs",
    "kotlin": "a.kt",
    "php": "a.php",
    "python": "a.py",
    "ruby": "a.rb",
    "rust": "a.rs",
    "scala": "a.scala",
    "swift": "a.swift",
    "tsx": "a.tsx",
    "typescript": "a.ts",
}


@pytest.mark.parametrize("language", sorted(GRAMMARS))
def test_every_query_compiles(language: str) -> None:
    syntax = compiled(language)
    assert syntax is not None
    assert syntax.query.pattern_count > 5


@pytest.mark.parametrize("language", sorted(GRAMMARS))
def test_queries_use_no_predicates(language: str) -> None:
    """A predicate reads node texts, which a tree parsed through a callback does not have."""
    assert "(#" not in query_source(GRAMMARS[language])


def test_files_of_every_grammar_are_recognized_as_such() -> None:
    assert {language: language_of(name) for language, name in EXAMPLES.items()} == {
        language: language for language in GRAMMARS
    }


def test_no_language_has_its_comments_told_twice() -> None:
    assert not COMMENTS.keys() & GRAMMARS.keys()


def test_a_language_without_grammar_has_no_parser() -> None:
    assert compiled("markdown") is None


@pytest.mark.parametrize("language", sorted(GRAMMARS))
def test_captures_are_of_the_known_vocabulary(language: str) -> None:
    kinds = "class|type|function|method|struct|interface|trait|enum|module|constant|macro"
    known = re.compile(
        rf"(?:{kinds})(?:\.signature|\.upper)?|scope|name(?:\.qualified)?|owner|lead|docstring|comment"
        r"|import(?:\.callee|\.argument)?|decision(?:\.not|\.none_within|\.operator|\.wildcard)?"
    )
    captures = set(re.findall(r"@([\w.]+)", query_source(GRAMMARS[language])))
    assert {capture for capture in captures if not known.fullmatch(capture)} == set()
