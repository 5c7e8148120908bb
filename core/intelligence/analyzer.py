"""One file's bytes in, one analysis out: no I/O, and no state but the loaded grammars."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Callable, Sequence
from operator import attrgetter
from time import monotonic
from typing import Final, TypedDict

from tree_sitter import Node, Query, QueryCursor

from core.errors import AnalysisFailed
from core.events.intelligence import FileAnalysis, LineCounts, Maturity
from core.intelligence.base import FileToAnalyze
from core.intelligence.complexity import decision_points
from core.intelligence.languages import COMMENTS, Comments, Compiled, compiled
from core.intelligence.lines import count_by_nodes, count_by_syntax
from core.intelligence.scores import (
    Figures,
    ScoresRecord,
    compute,
    maturity,
    no_scores,
    recommendations,
)
from core.intelligence.symbols import (
    MAX_IMPORTS,
    MAX_SYMBOLS,
    Captures,
    Definition,
    SymbolRecord,
    imports,
    listed,
    outline,
    symbols,
)
from core.repository.encodings import detect_encoding
from core.repository.languages import canonical, language_of

ANALYZER_VERSION: Final = "1.0.0"
"""Part of a record's identity; raised whenever the same bytes may yield another analysis."""

PARSE_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of text parsed at most; a syntax tree takes some 30 times its text in memory."""

_HEAD: Final = 8192
_PIECE: Final = 4096
_MATCH_LIMIT: Final = 4096
# tree-sitter counts depth in 16 bits; a search below that takes quadratic time and goes wrong.
_DEPTH_LIMIT: Final = 60_000
_DOCUMENTABLE: Final = frozenset(
    {"class", "interface", "struct", "enum", "trait", "function", "method", "type", "macro"}
)
_MARKS: Final = (b"TODO", b"FIXME", b"XXX", b"HACK")
_START: Final = attrgetter("start_byte")
_MARK: Final = re.compile(rb"\b(?:TODO|FIXME|XXX|HACK)\b")

Clock = Callable[[], float]


class Record(TypedDict):
    """The fields of a `FileAnalysis`, in its order."""

    language: str | None
    is_binary: bool
    encoding: str | None
    lines: LineCounts | None
    symbols: list[SymbolRecord]
    imports: list[str]
    max_complexity: int | None
    scores: ScoresRecord
    maturity: Maturity | None
    maturity_reason: str | None
    recommendations: list[str]
    parse_errors: int
    truncated: list[str]
    analyzer_version: str


def analyze(
    file: FileToAnalyze, *, deadline_s: float = float("inf"), clock: Clock = monotonic
) -> FileAnalysis:
    """The analysis of `file`.

    Raises AnalysisFailed when parsing takes longer than `deadline_s` seconds of `clock`.
    """
    return FileAnalysis.model_validate(to_record(file, deadline_s=deadline_s, clock=clock))


def to_record(file: FileToAnalyze, *, deadline_s: float = float("inf"), clock: Clock = monotonic) -> Record:
    """What `analyze` returns, as a dictionary: making a model of every symbol would cost a tenth more."""
    path, content = file.path, file.content
    encoding = detect_encoding(content, complete=file.complete)
    name = canonical(file.language) if file.language else language_of(path, content[:_HEAD])
    if encoding is None:
        return _unparsed(name, None, None, "the file is binary")
    if not file.complete:
        return _unparsed(name, encoding, None, f"larger than {PARSE_LIMIT:,} bytes, not read whole")
    text = _as_utf8(content, encoding)
    if not text:
        return _unparsed(name, encoding, count_by_syntax(text, Comments()), "the file is empty")
    syntax = compiled(name) if name else None
    if name is None or syntax is None:
        counts = count_by_syntax(text, COMMENTS.get(name or ""))
        return _unparsed(name, encoding, counts, f"no grammar for {name or 'an unknown language'}")
    if len(text) > PARSE_LIMIT:
        counts = count_by_syntax(text, None)
        return _unparsed(name, encoding, counts, f"larger than {PARSE_LIMIT:,} bytes, not parsed")
    return _parsed(name, encoding, text, syntax, clock() + deadline_s, clock)


def _as_utf8(content: bytes, encoding: str) -> bytes:
    """The text as UTF-8 without a byte order mark, its lines ended by a line feed at least."""
    if encoding == "utf-8-sig":
        content = content[len(BOM_UTF8) :]
    elif encoding != "utf-8":
        content = content.decode(encoding, "replace").encode("utf-8", "replace")
    return content if b"\n" in content else content.replace(b"\r", b"\n")


def _unparsed(name: str | None, encoding: str | None, counts: LineCounts | None, reason: str) -> Record:
    return Record(
        language=name,
        is_binary=encoding is None,
        encoding=encoding,
        lines=counts,
        symbols=[],
        imports=[],
        max_complexity=None,
        scores=no_scores(reason),
        maturity=None,
        maturity_reason=reason,
        recommendations=[],
        parse_errors=0,
        truncated=[],
        analyzer_version=ANALYZER_VERSION,
    )


def _parsed(name: str, encoding: str, text: bytes, syntax: Compiled, deadline: float, clock: Clock) -> Record:
    captures, complete = _capture(text, syntax, deadline, clock)
    comments = [*captures.get("comment", ()), *captures.get("docstring", ())]
    comments.sort(key=_START)
    counts, documenting, remarks = count_by_nodes(text, comments, syntax.grammar.documentation)
    structure = outline(text, captures, syntax.name_field, documenting)
    outside = structure.count_decisions(decision_points(text, captures))
    definitions = listed(structure.definitions)
    imported = imports(text, captures, syntax.grammar)
    figures = _figures(text, captures, remarks, counts, definitions, outside)
    scores = compute(figures)
    level, why = maturity(figures, scores)
    return Record(
        language=name,
        is_binary=False,
        encoding=encoding,
        lines=counts,
        symbols=symbols(definitions[:MAX_SYMBOLS]),
        imports=imported[:MAX_IMPORTS],
        max_complexity=max((d.decisions + 1 for d in figures.functions), default=None),
        scores=scores,
        maturity=level,
        maturity_reason=why,
        recommendations=recommendations(figures, scores),
        parse_errors=len(captures.get("error", ())),
        truncated=_truncated(definitions, imported, complete),
        analyzer_version=ANALYZER_VERSION,
    )


def _capture(text: bytes, syntax: Compiled, deadline: float, clock: Clock) -> tuple[Captures, bool]:
    """The query's captures, and whether none was lost to the limit on matches in progress."""
    view = memoryview(text)
    try:
        # A callback, unlike plain bytes, lets the parser be stopped. It copies what it gets, and may go
        # back and forth: small pieces keep that cheap.
        tree = syntax.parser.parse(
            lambda offset, _: view[offset : offset + _PIECE], progress_callback=lambda *_: clock() > deadline
        )
    except ValueError:
        syntax.parser.reset()
        raise AnalysisFailed("parsing took longer than its deadline") from None
    captures, complete = _search(syntax.query, tree.root_node)
    if tree.root_node.has_error:
        captures |= _search(syntax.errors, tree.root_node)[0]
    return captures, complete


def _search(query: Query, root: Node) -> tuple[dict[str, list[Node]], bool]:
    cursor = QueryCursor(query, match_limit=_MATCH_LIMIT)
    cursor.set_max_start_depth(_DEPTH_LIMIT)
    return cursor.captures(root), not cursor.did_exceed_match_limit


def _figures(
    text: bytes,
    captures: Captures,
    remarks: Sequence[bytes],
    counts: LineCounts,
    definitions: Sequence[Definition],
    outside_decisions: int,
) -> Figures:
    functions = [d for d in definitions if d.is_function]
    inside = sum(d.lines for d in functions if d.around is None)
    documentable = [
        d for d in definitions if d.kind in _DOCUMENTABLE and not d.name.startswith("_") and d.around is None
    ]
    return Figures(
        lines=counts,
        functions=functions,
        outside_decisions=outside_decisions,
        outside_lines=max(0, counts.total - inside),
        documentable=len(documentable),
        undocumented=[d.name for d in documentable if not d.documented],
        markers=_count_marks(remarks),
        error_share=_error_bytes(captures.get("error", ())) / len(text),
    )


def _count_marks(remarks: Sequence[bytes]) -> int:
    commented = b"\n".join(remarks)
    if not any(mark in commented for mark in _MARKS):
        return 0
    return len(_MARK.findall(commented))


def _error_bytes(errors: Sequence[Node]) -> int:
    """Bytes of the tokens directly under an error; what was recognized inside it is not lost."""
    total = 0
    for error in errors:
        leaves = [child for child in error.children if child.child_count == 0] or (
            [error] if error.child_count == 0 else []
        )
        total += sum(leaf.end_byte - leaf.start_byte for leaf in leaves if leaf.type != "ERROR")
    return total


def _truncated(definitions: Sequence[Definition], imported: Sequence[str], complete: bool) -> list[str]:
    notes = []
    if len(definitions) > MAX_SYMBOLS:
        notes.append(f"symbols: {MAX_SYMBOLS:,} of {len(definitions):,}")
    if len(imported) > MAX_IMPORTS:
        notes.append(f"imports: {MAX_IMPORTS:,} of {len(imported):,}")
    if not complete:
        notes.append("matches: too many at once, some definitions may be missing")
    return notes
