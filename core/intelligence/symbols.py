"""Definitions and imports, from the captures of a language's query.

The queries share one vocabulary, given in docs/intelligence.md. A definition is named by its node's
`name` field, or by the first `@name` inside it; what lies where follows from byte positions alone, so
depth costs no recursion.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from pydantic import TypeAdapter
from tree_sitter import Node

from core.events.intelligence import Symbol, SymbolKind
from core.intelligence.languages import Grammar
from core.intelligence.lines import Span, span

MAX_SYMBOLS: Final = 2_000
"""Symbols listed per file, so that a record stays well under a log's usual limit of 1 MB."""

MAX_IMPORTS: Final = 500
MAX_NAME: Final = 200
"""Characters of a listed name or import."""

Captures = Mapping[str, Sequence[Node]]

# From general to special: of two captures of one node the later kind counts.
_KINDS: Final[tuple[SymbolKind, ...]] = (
    "class",
    "type",
    "function",
    "method",
    "struct",
    "interface",
    "trait",
    "enum",
    "module",
    "constant",
    "macro",
)
_CALLABLE: Final = frozenset({"function", "method"})
_HOLDS_METHODS: Final = frozenset({"class", "struct", "interface", "trait", "enum", "scope"})
_CAPTURES: Final = {"scope": ("scope", "")} | {
    f"{kind}.{variant}".rstrip("."): (kind, variant)
    for variant in ("signature", "upper", "")
    for kind in _KINDS
}
_RANK: Final = {capture: rank for rank, capture in enumerate(_CAPTURES)}
_UPPER_CASE: Final = re.compile(rb"_*[A-Z][A-Z0-9_]*(?!\w)")
_SYMBOLS: Final = TypeAdapter(tuple[Symbol, ...])
_QUOTES: Final = "\"'`<>"


@dataclass(slots=True, eq=False)
class Definition:
    """A definition while it is being put together; a `scope` holds methods but is no symbol itself.

    It covers the bytes [start, end) and the rows `first` to `last`, 0-based. `within` is the innermost
    definition around it, `around` the innermost function around it. `decisions` are its own decision
    points, those of inner functions left out.
    """

    kind: str
    name: str
    start: int
    end: int
    first: int
    last: int
    has_body: bool
    within: Definition | None
    around: Definition | None
    nesting: int
    owner: str | None = None
    documented: bool = False
    decisions: int = 0

    @property
    def is_function(self) -> bool:
        """True for a function or method with a body, whose complexity can be told."""
        return self.has_body and self.kind in _CALLABLE

    @property
    def complexity(self) -> int | None:
        """McCabe's cyclomatic complexity: decision points plus one."""
        return self.decisions + 1 if self.is_function else None

    @property
    def parent(self) -> str | None:
        return self.owner or (self.within.name or None if self.within else None)


class Outline:
    """The definitions of a file in order, and which of them is innermost at a byte."""

    def __init__(self, text: bytes, captures: Captures) -> None:
        self.definitions: list[Definition] = []
        self._edges: list[int] = [0]
        self._innermost: list[Definition | None] = [None]
        stack: list[Definition] = []
        found = _found(text, captures)
        for where in sorted(found):
            node, kind, has_body = found[where]
            start = where[0]
            while stack and stack[-1].end <= start:
                self._close(stack)
            within = stack[-1] if stack else None
            definition = _define(text, node, kind, has_body, within, len(stack))
            self.definitions.append(definition)
            stack.append(definition)
            self._edges.append(start)
            self._innermost.append(definition)
        while stack:
            self._close(stack)

    def _close(self, stack: list[Definition]) -> None:
        self._edges.append(stack.pop().end)
        self._innermost.append(stack[-1] if stack else None)

    def at(self, byte: int) -> Definition | None:
        """The innermost definition that holds `byte`."""
        return self._innermost[bisect_right(self._edges, byte) - 1]


def _define(
    text: bytes, node: Node, kind: str, has_body: bool, within: Definition | None, nesting: int
) -> Definition:
    around = None
    if within is not None:
        around = within if within.is_function else within.around
        if kind == "function" and within.kind in _HOLDS_METHODS:
            kind = "method"
    name = node.child_by_field_name("name")
    start, end, first, last = span(node)
    return Definition(
        kind, _text(text, name) if name else "", start, end, first, last, has_body, within, around, nesting
    )


def _found(text: bytes, captures: Captures) -> dict[tuple[int, int], tuple[Node, str, bool]]:
    """Every captured definition once, keyed by (start, -end): in order, outer before inner."""
    found: dict[tuple[int, int], tuple[Node, str, bool]] = {}
    for capture in sorted(captures.keys() & _CAPTURES.keys(), key=_RANK.__getitem__):
        kind, variant = _CAPTURES[capture]
        for node in captures[capture]:
            start = node.start_byte
            if variant != "upper" or _UPPER_CASE.match(text, start):
                found[start, -node.end_byte] = node, kind, variant != "signature"
    return found


def outline(text: bytes, captures: Captures, documenting: Callable[[int], bool]) -> Outline:
    """The definitions of `text`, named, and whether they are documented.

    `documenting` says of a row whether a documentation comment ends there.
    """
    result = Outline(text, captures)
    for node in captures.get("name", ()):
        if (named := result.at(node.start_byte)) is not None and not named.name:
            named.name = _text(text, node)
    for node in captures.get("owner", ()):
        if (owned := result.at(node.start_byte)) is not None and owned.owner is None:
            owned.owner = _text(text, node)
            owned.kind = "method" if owned.kind == "function" else owned.kind
    for node in captures.get("docstring", ()):
        if (documented := result.at(node.start_byte)) is not None:
            documented.documented = True
    _find_comments_above(result.definitions, captures, documenting)
    return result


def _find_comments_above(
    definitions: Sequence[Definition], captures: Captures, documenting: Callable[[int], bool]
) -> None:
    """Mark what has a documentation comment directly above it, or above what leads up to it."""
    leads = deque(sorted(span(node) for node in captures.get("lead", ())))
    lead: Span | None = None
    for definition in definitions:
        start, row = definition.start, definition.first
        while leads and leads[0].start <= start:
            following = leads.popleft()
            if lead is None or not _leads_to(lead, following.start, following.first):
                lead = following
            else:
                lead = lead._replace(end=max(lead.end, following.end), last=following.last)
        if lead is not None and _leads_to(lead, start, row):
            row = lead.first
        lead = None
        if row and documenting(row - 1):
            definition.documented = True


def _leads_to(lead: Span, start: int, first: int) -> bool:
    return start < lead.end or 0 <= first - lead.last <= 1


def listed(definitions: Iterable[Definition]) -> list[Definition]:
    """The definitions worth listing: named, no local constants, no declaration of what is defined here."""
    named = [
        d for d in definitions if d.name and d.kind != "scope" and not (d.around is not None and _is_minor(d))
    ]
    defined = {(d.name, d.parent) for d in named if d.is_function}
    return [d for d in named if d.has_body or (d.name, d.parent) not in defined]


def symbols(definitions: Sequence[Definition]) -> tuple[Symbol, ...]:
    """The symbols of listed definitions; validated in one go, which is much the fastest."""
    return _SYMBOLS.validate_python(
        [
            {
                "kind": d.kind,
                "name": d.name,
                "start_line": d.first + 1,
                "end_line": d.last + 1,
                "nesting": d.nesting,
                "parent": d.parent,
                "complexity": d.complexity,
                "documented": d.documented,
            }
            for d in definitions
        ]
    )


def _is_minor(definition: Definition) -> bool:
    return definition.kind == "constant" or not definition.has_body


def imports(text: bytes, captures: Captures, grammar: Grammar) -> list[str]:
    """What the file imports, in order of appearance, each once, as written but for quotes."""
    found = [(node.start_byte, "import", node) for node in captures.get("import", ())]
    for part in ("import.callee", "import.argument"):
        found += [(node.start_byte, part, node) for node in captures.get(part, ())]
    found.sort(key=itemgetter(0, 1))
    result: dict[str, None] = {}
    expecting = False
    for _, part, node in found:
        if part == "import.callee":
            expecting = text[node.start_byte : node.end_byte] in grammar.import_calls
        elif part == "import" or expecting:
            name = " ".join(_text(text, node).split()).removeprefix("import ").strip(_QUOTES)
            result[name] = None
            expecting = False
    result.pop("", None)
    return list(result)


def _text(text: bytes, node: Node) -> str:
    start, end = node.start_byte, node.end_byte
    if end - start > MAX_NAME:
        return text[start : start + 4 * MAX_NAME].decode("utf-8", "replace")[:MAX_NAME]
    return text[start:end].decode("utf-8", "replace")
