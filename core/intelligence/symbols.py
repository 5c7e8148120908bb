"""Definitions and imports, from the captures of a language's query.

The queries share one vocabulary, given in docs/intelligence.md. A definition is named by its node's
`name` field, or by the first `@name` inside it. What lies in what follows from byte positions alone, so
depth costs no recursion. This runs for every definition of every file: hence the plain loops.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, TypedDict

from tree_sitter import Node

from core.intelligence.languages import Grammar
from core.intelligence.lines import Span, span

MAX_SYMBOLS: Final = 2_000
"""Symbols listed per file, so that a record stays well under a log's usual limit of 1 MB."""

MAX_IMPORTS: Final = 500
MAX_NAME: Final = 200
"""Characters of a listed name or import."""

Captures = Mapping[str, Sequence[Node]]

# From general to special: of two captures of one node the later kind counts.
_KINDS: Final = (
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
_VARIANTS: Final = ("signature", "upper", "")
_CAPTURES: Final = {
    f"{kind}.{variant}".rstrip("."): (rank, kind, variant)
    for rank, (variant, kind) in enumerate(
        [("", "scope"), *((variant, kind) for variant in _VARIANTS for kind in _KINDS)]
    )
}
_CALLABLE: Final = frozenset({"function", "method"})
_HOLDS_METHODS: Final = frozenset({"class", "struct", "interface", "trait", "enum", "scope"})
_UPPER_CASE: Final = re.compile(rb"_*[A-Z][A-Z0-9_]*(?!\w)")
_QUOTES: Final = "\"'`<>"


class SymbolRecord(TypedDict):
    """The fields of a `core.events.intelligence.Symbol`, in its order."""

    kind: str
    name: str
    start_line: int
    end_line: int
    nesting: int
    parent: str | None
    complexity: int | None
    documented: bool


@dataclass(slots=True, eq=False)
class Definition:
    """A definition while it is being put together; a `scope` holds methods but is no symbol itself.

    It covers the bytes [start, end) and the rows `first` to `last`, 0-based. `is_function` is true of a
    function or method with a body. `within` is the innermost definition around it, `around` the innermost
    function around it. `decisions` are its own decision points, those of inner functions left out.
    """

    kind: str
    name: str
    start: int
    end: int
    first: int
    last: int
    has_body: bool
    is_function: bool
    within: Definition | None
    around: Definition | None
    nesting: int
    owner: str | None = None
    documented: bool = False
    decisions: int = 0

    @property
    def parent(self) -> str | None:
        """The name of what it belongs to."""
        return self.owner or (self.within.name or None if self.within else None)

    @property
    def lines(self) -> int:
        """How many lines it covers."""
        return self.last - self.first + 1


class Outline:
    """The definitions of a file in order, and which of them is innermost at a byte."""

    def __init__(self, text: bytes, captures: Captures, name_field: int) -> None:
        """`name_field` is the grammar's number of the field `name`."""
        self.definitions: list[Definition] = []
        self._edges: list[int] = [0]
        self._innermost: list[Definition | None] = [None]
        stack: list[Definition] = []
        found = _found(text, captures)
        following = iter(found)
        next(following, None)
        for start, minus_end, _, _, kind, has_body, node in found:
            after = next(following, None)
            if after is not None and after[0] == start and after[1] == minus_end:
                continue  # the same node under a more special kind comes next
            within = around = None
            while stack and stack[-1].end <= start:
                self._close(stack)
            if stack:
                within = stack[-1]
                around = within if within.is_function else within.around
                if kind == "function" and within.kind in _HOLDS_METHODS:
                    kind = "method"
            first = node.start_point[0]
            last, column = node.end_point
            if column == 0 and last > first:
                last -= 1
            named = node.child_by_field_id(name_field)
            definition = Definition(
                kind,
                _text(text, named) if named else "",
                start,
                -minus_end,
                first,
                last,
                has_body,
                has_body and kind in _CALLABLE,
                within,
                around,
                len(stack),
            )
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

    def count_decisions(self, points: Sequence[int]) -> int:
        """Count sorted decision points for the innermost function around each; return those in none."""
        outside = len(points)
        for definition in self.definitions:
            if definition.is_function:
                count = bisect_left(points, definition.end) - bisect_left(points, definition.start)
                definition.decisions += count
                if definition.around is None:
                    outside -= count
                else:
                    definition.around.decisions -= count
        return outside


def _found(text: bytes, captures: Captures) -> list[tuple[int, int, int, int, str, bool, Node]]:
    """The captured definitions by start, outer before inner, general kind before special."""
    found: list[tuple[int, int, int, int, str, bool, Node]] = []
    for capture, nodes in captures.items():
        if capture not in _CAPTURES:
            continue
        rank, kind, variant = _CAPTURES[capture]
        has_body = variant != "signature"
        for node in nodes:
            start = node.start_byte
            if variant != "upper" or _UPPER_CASE.match(text, start):
                # The running number keeps the comparison from ever reaching the node.
                found.append((start, -node.end_byte, rank, len(found), kind, has_body, node))
    found.sort()
    return found


def outline(text: bytes, captures: Captures, name_field: int, documenting: bytearray) -> Outline:
    """The definitions of `text`, named, and whether they are documented.

    `documenting` is true of each row that a documentation comment ends on.
    """
    result = Outline(text, captures, name_field)
    for node in captures.get("name", ()):
        if (named := result.at(node.start_byte)) is not None and not named.name:
            named.name = _text(text, node)
    for node in captures.get("name.qualified", ()):
        if (named := result.at(node.start_byte)) is not None and not named.name:
            owner, _, named.name = _text(text, node).rpartition("::")
            named.owner = owner.partition("<")[0].rpartition("::")[2]
            named.kind = "method"
    for node in captures.get("owner", ()):
        if (owned := result.at(node.start_byte)) is not None and owned.owner is None:
            owned.owner = _text(text, node)
    for node in captures.get("docstring", ()):
        if (documented := result.at(node.start_byte)) is not None:
            documented.documented = True
    if any(documenting):
        _find_comments_above(result.definitions, captures.get("lead", ()), documenting)
    return result


def _find_comments_above(
    definitions: Sequence[Definition], nodes: Sequence[Node], documenting: bytearray
) -> None:
    """Mark what has a documentation comment directly above it, or above the `nodes` that lead up to it."""
    leads = deque(sorted(map(span, nodes)))
    lead: Span | None = None
    for definition in definitions:
        row = definition.first
        while leads and leads[0].start <= definition.start:
            following = leads.popleft()
            if lead is None or not _leads_to(lead, following.start, following.first):
                lead = following
            else:
                lead = lead._replace(end=max(lead.end, following.end), last=following.last)
        if lead is not None:
            if _leads_to(lead, definition.start, row):
                row = lead.first
            lead = None
        if row and documenting[row - 1]:
            definition.documented = True


def _leads_to(lead: Span, start: int, first: int) -> bool:
    return start < lead.end or 0 <= first - lead.last <= 1


def listed(definitions: Iterable[Definition]) -> list[Definition]:
    """The definitions worth listing: named, no local constants, no declaration of what is defined here."""
    named = [
        d
        for d in definitions
        if d.name and d.kind != "scope" and (d.around is None or (d.has_body and d.kind != "constant"))
    ]
    if all(d.has_body for d in named):
        return named
    defined = {(d.name, d.parent) for d in named if d.is_function}
    return [d for d in named if d.has_body or (d.name, d.parent) not in defined]


def symbols(definitions: Iterable[Definition]) -> list[SymbolRecord]:
    """The symbols of listed definitions."""
    return [
        {
            "kind": d.kind,
            "name": d.name,
            "start_line": d.first + 1,
            "end_line": d.last + 1,
            "nesting": d.nesting,
            "parent": d.parent,
            "complexity": d.decisions + 1 if d.is_function else None,
            "documented": d.documented,
        }
        for d in definitions
    ]


def imports(text: bytes, captures: Captures, grammar: Grammar) -> list[str]:
    """What the file imports, in order of appearance, each once, as written but for quotes."""
    found = [
        (node.start_byte, part, node)
        for part in ("import", "import.argument", "import.callee")
        for node in captures.get(part, ())
    ]
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
    name = str(text[node.start_byte : node.end_byte], "utf-8", "replace")
    return name if len(name) <= MAX_NAME else name[:MAX_NAME]
