"""The analyzer on whatever bytes there are: encodings, sizes, depths, noise."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from core.errors import AnalysisFailed
from core.events.intelligence import FileAnalysis
from core.intelligence import analyzer
from core.intelligence.analyzer import ANALYZER_VERSION, analyze, to_record
from core.intelligence.base import FileToAnalyze
from core.intelligence.languages import GRAMMARS
from core.intelligence.symbols import MAX_IMPORTS, MAX_NAME, MAX_SYMBOLS

PYTHON = 'def greet(name):\n    """Grüßt."""\n    return name or "é"\n'


def of(content: bytes | str, language: str | None = "python", path: str = "a.py") -> FileAnalysis:
    return analyze(FileToAnalyze(path, content.encode() if isinstance(content, str) else content, language))


def counts(analysis: FileAnalysis) -> tuple[int, int, int | None, int]:
    assert analysis.lines is not None
    lines = analysis.lines
    return lines.total, lines.code, lines.comment, lines.blank


def test_the_record_is_the_analysis_field_by_field() -> None:
    file = FileToAnalyze("a.py", PYTHON.encode())
    analysis = analyze(file)
    assert to_json(to_record(file)).decode() == analysis.model_dump_json()
    assert analysis.analyzer_version == ANALYZER_VERSION


@pytest.mark.parametrize(
    ("path", "given_language", "expected"),
    [
        ("a.py", None, "python"),
        ("a.txt", "Python", "python"),
        ("a.x", "C++", "cpp"),
        ("a.x", "Shell", "bash"),
        ("a.x", "c-sharp", "csharp"),
        ("run", None, None),
        ("a.md", None, "markdown"),
        ("a.x", "brainfuck", "brainfuck"),
    ],
)
def test_the_language_is_the_given_one_else_told_from_the_path(
    path: str, given_language: str | None, expected: str | None
) -> None:
    assert of("x\n", given_language, path).language == expected


def test_a_shebang_tells_the_language_of_a_file_without_extension() -> None:
    assert of("#!/usr/bin/env python3\nx = 1\n", None, "run").language == "python"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "utf-16-be-bom", "utf-32", "latin-1"]
)
def test_text_is_parsed_whatever_its_encoding(encoding: str) -> None:
    match encoding:
        case "utf-16-le-bom":
            content = b"\xff\xfe" + PYTHON.encode("utf-16-le")
        case "utf-16-be-bom":
            content = b"\xfe\xff" + PYTHON.encode("utf-16-be")
        case _:
            content = PYTHON.encode(encoding)
    analysis = of(content)
    assert [(symbol.name, symbol.complexity) for symbol in analysis.symbols] == [("greet", 2)]
    assert counts(analysis) == (3, 2, 1, 0)
    assert analysis.parse_errors == 0
    assert analysis.encoding is not None
    assert analysis.encoding == encoding.removesuffix("-le-bom").removesuffix("-be-bom")


def test_shift_jis_is_parsed_where_a_trail_byte_is_a_backslash() -> None:
    """`ソ` and `表` end in 0x5C; read as Latin-1 their strings would not end."""
    comment = "# 日本語のコメントです。文字コードの判定のために十分な長さの文章を書いておきます。\n"
    source = comment + 'def name():\n    return "予定表"\n\n\ndef other():\n    return "ソ"\n' * 3
    analysis = of(source.encode("shift_jis"))
    assert analysis.encoding == "shift_jis"
    assert [symbol.name for symbol in analysis.symbols] == ["name", "other"] * 3
    assert analysis.parse_errors == 0


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_ends_a_line(end: str) -> None:
    source = end.join(["# one", "", "x = 1", "   ", "def f(): pass"])
    analysis = of(source)
    assert counts(analysis) == (5, 2, 1, 2)
    assert analysis.symbols[0].start_line == 5


@pytest.mark.parametrize("language", [*sorted(GRAMMARS), "markdown", "brainfuck", None])
def test_an_empty_file_has_no_lines_and_no_scores(language: str | None) -> None:
    analysis = of("", language, "empty")
    assert counts(analysis) == (0, 0, 0, 0)
    assert analysis.is_binary is False
    assert analysis.scores.quality.value is None
    assert analysis.scores.quality.reason == "the file is empty"
    assert analysis.maturity is None


def test_a_file_that_is_only_a_byte_order_mark_is_empty() -> None:
    assert of(b"\xef\xbb\xbf").scores.quality.reason == "the file is empty"


def test_binary_content_is_named_and_not_counted() -> None:
    analysis = of(b"\x89PNG\r\n\x1a\n\0\0\0\x0d", None, "a.png")
    assert (analysis.is_binary, analysis.encoding, analysis.lines) == (True, None, None)
    assert {score.reason for _, score in analysis.scores} == {"the file is binary"}


def test_without_a_grammar_lines_are_counted_and_scores_have_a_reason() -> None:
    analysis = of("# a\nb: 1\n\n", "yaml", "a.yaml")
    assert counts(analysis) == (3, 1, 1, 1)
    assert analysis.scores.complexity.reason == "no grammar for yaml"
    assert (analysis.symbols, analysis.maturity) == ((), None)


def test_comments_of_an_unknown_language_are_unknown() -> None:
    assert counts(of("# a\nb\n\n", "brainfuck", "a.bf")) == (3, 2, None, 1)
    assert counts(of("a\n", None, "README")) == (1, 1, None, 0)


@pytest.mark.parametrize("source", ["# only\n# comments\n", "\n\n \t\n"])
def test_a_file_without_code_has_no_scores(source: str) -> None:
    assert of(source).scores.quality.reason == "no line of code"


def test_a_file_not_read_whole_has_no_lines() -> None:
    analysis = analyze(FileToAnalyze("a.py", PYTHON.encode() * 10, None, size_bytes=10_000_000))
    assert (analysis.language, analysis.encoding, analysis.lines) == ("python", "utf-8", None)
    assert analysis.scores.quality.reason == "larger than 8,388,608 bytes, not read whole"


def test_the_end_of_a_beginning_may_cut_a_character() -> None:
    content = ("x" * 99 + "é").encode()[:-1]
    assert analyze(FileToAnalyze("a.py", content, None, size_bytes=1000)).encoding == "utf-8"


def test_a_very_large_file_is_counted_but_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyzer, "PARSE_LIMIT", 1000)
    analysis = of("x = 1\n" * 200)
    assert counts(analysis) == (200, 200, None, 0)
    assert analysis.scores.quality.reason == "larger than 1,000 bytes, not parsed"


def test_a_parse_past_its_deadline_fails_and_leaves_the_parser_usable() -> None:
    ticks = itertools.count()
    file = FileToAnalyze("a.py", b"x = (1, 2, 3)\n" * 5000)
    with pytest.raises(AnalysisFailed, match="deadline"):
        analyze(file, deadline_s=3, clock=lambda: float(next(ticks)))
    assert len(of("def f(): pass\n").symbols) == 1


# Depth and width

DEPTH = 100_000


@pytest.mark.parametrize("language", sorted(GRAMMARS))
def test_deep_nesting_needs_no_recursion(language: str) -> None:
    analysis = of("(" * DEPTH + "1" + ")" * DEPTH + "\n", language, "deep")
    assert counts(analysis)[0] == 1


@pytest.mark.parametrize(
    ("language", "before", "after"),
    [
        ("javascript", "function f(){", "}"),
        ("python", "if x:", ""),
        ("rust", "mod m{", "}"),
        ("c", "{if(a)", "}"),
    ],
)
def test_deeply_nested_definitions_and_blocks_need_no_recursion(
    language: str, before: str, after: str
) -> None:
    depth = 5_000
    analysis = of(before * depth + after * depth + "\n", language, "deep")
    assert counts(analysis)[0] == 1
    assert all(symbol.nesting < depth for symbol in analysis.symbols)


def test_nesting_is_counted_however_deep() -> None:
    depth = 1_000
    analysis = of("function f(){" * depth + "}" * depth, "javascript", "deep.js")
    assert [symbol.nesting for symbol in analysis.symbols] == list(range(depth))


def test_a_huge_line_is_one_line() -> None:
    analysis = of("/* a */ x = 1; " * 60_000, "javascript", "a.min.js")
    assert counts(analysis) == (1, 1, 0, 0)


def test_a_long_chain_of_operators_is_linear() -> None:
    analysis = of("function f(a) { return " + " && ".join(["a"] * 20_000) + "; }\n", "javascript", "a.js")
    assert analysis.max_complexity == 20_000


@pytest.mark.parametrize("language", ["javascript", "c"])
def test_beyond_the_depth_that_tree_sitter_can_count_time_stays_linear(language: str) -> None:
    source = "void f() { " + "if(a)" * 100_000 + "b; }\n"
    assert counts(of(source, language, "deep")) == (1, 1, 0, 0)


def test_symbols_and_imports_are_capped_with_a_note() -> None:
    symbols, imported = MAX_SYMBOLS + 7, MAX_IMPORTS + 3
    source = "".join(f"import m{n}\n" for n in range(imported)) + "".join(
        f"def f{n}(): pass\n" for n in range(symbols)
    )
    analysis = of(source)
    assert (len(analysis.symbols), len(analysis.imports)) == (MAX_SYMBOLS, MAX_IMPORTS)
    assert analysis.truncated == ("symbols: 2,000 of 2,007", "imports: 500 of 503")
    assert analysis.scores.documentation.inputs["documentable"] == symbols


def test_a_long_name_is_cut() -> None:
    (symbol,) = of(f"def {'n' * 5000}(): pass\n").symbols
    assert symbol.name == "n" * MAX_NAME


# Definitions


def test_a_declaration_of_what_is_defined_here_is_not_listed_twice() -> None:
    analysis = of("int f(int);\nint g(int);\nint f(int x) { return x; }\n", "c", "a.c")
    assert [(symbol.name, symbol.start_line) for symbol in analysis.symbols] == [("g", 2), ("f", 3)]


def test_functions_of_a_class_are_methods_and_those_inside_a_method_are_not() -> None:
    analysis = of("class A:\n    def m(self):\n        def inner(): pass\n")
    assert [(symbol.kind, symbol.parent) for symbol in analysis.symbols] == [
        ("class", None),
        ("method", "A"),
        ("function", "m"),
    ]


def test_decision_points_belong_to_the_innermost_function() -> None:
    inner = "    def inner():\n        if b: pass\n        if c: pass\n"
    source = f"def outer():\n    if a: pass\n{inner}    if d: pass\n"
    assert [symbol.complexity for symbol in of(source).symbols] == [3, 3]


@pytest.mark.parametrize(
    ("source", "language", "documented"),
    [
        ("/** Doc. */\n\nvoid f() {}\n", "java", False),
        ("/* no doc */\nclass A {}\n", "java", False),
        ("int a; /** of a */\nclass A {}\n", "java", False),
        ("/** Doc. */\n@A\n@B\nclass A {}\n", "java", True),
        ("/// Doc.\n#[a]\n#[b]\nstruct A;\n", "rust", True),
        ("/// Doc.\n#[a]\n\n\nstruct A;\n", "rust", False),
        ("/** Doc. */\nexport default class A {}\n", "javascript", True),
        ("// Doc.\ntemplate <class T>\nstruct A {};\n", "cpp", True),
        ("# Doc.\ndef a; end\n", "ruby", True),
        ("# not a docstring\ndef a(): pass\n", "python", False),
        ("def a():\n    x = 1\n    'not a docstring'\n", "python", False),
        ("@decorated\ndef a():\n    'Doc.'\n", "python", True),
    ],
)
def test_what_documents_a_definition(source: str, language: str, documented: bool) -> None:
    assert of(source, language, "a").symbols[0].documented is documented


# Syntax errors


def test_syntax_errors_are_counted_and_cost_quality() -> None:
    good = "def f():\n    '''Doc.'''\n    return 1\n" * 5
    flawed = of(good + "x = = 1\n")
    assert flawed.parse_errors > 0
    assert len(flawed.symbols) == 5
    inputs = flawed.scores.quality.inputs
    assert 0 < inputs["error_share"] < 0.1
    clean = of(good + "x = 1\n").scores.quality.value
    assert clean is not None
    assert flawed.scores.quality.value is not None
    assert flawed.scores.quality.value < clean


def test_a_file_the_grammar_does_not_understand_has_no_scores() -> None:
    analysis = of("%%% ]]] ??? ))) $$$ ((( ;;; " * 20 + "\n", "java", "a.java")
    assert analysis.scores.quality.value is None
    assert "the grammar does not understand" in (analysis.scores.quality.reason or "")


# Noise

_PIECES = st.sampled_from([
    "{", "}", "(", ")", "[", "]", "<", ">", "=", ":", ";", "&&", "||", "??", "=>", "@", "$x", "é", " ", "\n",
    "\r", "if", "for", "class A", "def f", "function", "fn x", "import a", "case _", "\\", '"', "'", "`",
    "\u2028", "/*", "*/", "//", "#", "<!--", "<?php",
])  # fmt: skip
NOISE = st.one_of(st.binary(max_size=400), st.lists(_PIECES, max_size=80).map(lambda p: "".join(p).encode()))


@pytest.mark.parametrize("language", [*sorted(GRAMMARS), "html", "lua", None])
@settings(max_examples=60, deadline=None)
@example(b"\xff\xfe")
@example(b"\xef\xbb\xbf#")
@given(content=NOISE)
def test_no_bytes_make_the_analyzer_raise(language: str | None, content: bytes) -> None:
    file = FileToAnalyze("noise", content, language)
    analysis = analyze(file)
    assert to_json(to_record(file)).decode() == analysis.model_dump_json()
    if analysis.lines is not None:
        lines = analysis.lines
        assert lines.total == lines.code + (lines.comment or 0) + lines.blank
        assert min(lines.code, lines.comment or 0, lines.blank) >= 0
        for symbol in analysis.symbols:
            assert 1 <= symbol.start_line <= symbol.end_line <= lines.total
            assert symbol.complexity is None or symbol.complexity >= 1
    for _, score in analysis.scores:
        assert (score.value is None) == (score.reason is not None)
