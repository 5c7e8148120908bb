"""Counting lines, against files put together from lines of known kinds."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.intelligence.analyzer import analyze
from core.intelligence.base import FileToAnalyze
from core.intelligence.languages import COMMENTS, Comments
from core.intelligence.lines import count_by_syntax

C = Comments((b"//",), ((b"/*", b"*/"),))

# Lines of C-like languages: the text, and what its physical lines are.
BLOCKS: tuple[tuple[str, str], ...] = (
    ("", "b"),
    ("  \t", "b"),
    ("x = 1;", "c"),
    ("// all comment", "#"),
    ("   // indented", "#"),
    ("x = 1; // trailing", "c"),
    ("/* block */", "#"),
    ("/* one */ /* two */", "#"),
    ("/* one */ // two", "#"),
    ("/* before */ x = 1;", "c"),
    ("x = 1; /* after */", "c"),
    ("/* over\n two */", "##"),
    ("/* over\n\n  three\n*/", "#b##"),
    ("x = 1; /* starts\n ends */", "c#"),
    ("/* starts\n ends */ x = 1;", "#c"),
    ("x = 1; /* starts\n ends */ y = 2;", "cc"),
    ("/* a\n*/ /* b\n*/", "###"),
)


def lines_of(content: str, language: str) -> tuple[int, int | None, int]:
    lines = analyze(FileToAnalyze("a", content.encode(), language)).lines
    assert lines is not None
    assert lines.total == lines.code + (lines.comment or 0) + lines.blank
    return lines.code, lines.comment, lines.blank


@given(blocks=st.lists(st.sampled_from(BLOCKS), min_size=1), end=st.sampled_from(["\n", "\r\n"]))
def test_lines_of_known_kinds_are_counted_by_the_tree_and_by_syntax_alike(
    blocks: list[tuple[str, str]], end: str
) -> None:
    text = end.join(text.replace("\n", end) for text, _ in blocks) + end
    kinds = Counter("".join(kinds for _, kinds in blocks))
    expected = (kinds["c"], kinds["#"], kinds["b"])
    assert lines_of(text, "javascript") == expected
    syntax = count_by_syntax(text.encode(), C)
    assert (syntax.code, syntax.comment, syntax.blank) == expected


def test_a_last_line_needs_no_end() -> None:
    assert lines_of("x = 1", "python") == (1, 0, 0)
    assert lines_of("x = 1\n", "python") == (1, 0, 0)
    assert lines_of("x = 1\n\n", "python") == (1, 0, 1)


def test_docstrings_are_comments_and_other_strings_are_code() -> None:
    source = '"""Module\n\ndoc."""\n\nx = """not\na doc"""\n\ndef f():\n    """Doc."""\n    "code"\n'
    assert lines_of(source, "python") == (4, 3, 3)


def test_a_comment_sign_in_a_string_is_code() -> None:
    assert lines_of('x = "# no"\ny = """\n# no\n"""\n', "python") == (4, 0, 0)


def test_rust_comments_that_include_their_line_end_own_one_line() -> None:
    assert lines_of("/// one\n/// two\nfn f() {}\n", "rust") == (1, 2, 0)


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("yaml", "# c\na: 1 # c\n", (1, 1)),
        ("html", "<!-- a\n b -->\n<p>\n<!-- c --> <b>\n", (2, 2)),
        ("lua", "--[[ a\n b ]]\n-- c\nx = 1\n", (1, 3)),
        ("sql", "-- c\nSELECT 1; /* c\n c */\n", (1, 2)),
        ("css", "/* c */\na { } /* c */\n// no comment\n", (2, 1)),
        ("haskell", "{- a\n b -}\n-- c\nx = 1\n", (1, 3)),
        ("json", '{"a": "// no"}\n', (1, 0)),
        ("ini", "; a\n# b\n[c]\n", (1, 2)),
        ("batch", "REM a\n:: b\necho\n", (1, 2)),
        ("pascal", "{ a }\n(* b\n*)\nx := 1;\n", (1, 3)),
        ("tex", "% c\n\\a\n", (1, 1)),
        ("html", "<!-- never closed\n<p>\n", (0, 2)),
    ],
)
def test_comments_of_languages_without_a_grammar(language: str, text: str, expected: tuple[int, int]) -> None:
    assert lines_of(text, language)[:2] == expected


@given(text=st.binary(), language=st.sampled_from(sorted(COMMENTS)))
def test_any_bytes_are_counted(text: bytes, language: str) -> None:
    lines = count_by_syntax(text, COMMENTS[language])
    assert lines.total == lines.code + (lines.comment or 0) + lines.blank
    assert lines.total == len(text.split(b"\n")) - (text.endswith(b"\n") or not text)
