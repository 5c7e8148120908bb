"""Counting lines: code, comment, blank.

A line is blank if it holds only white space, also inside a comment or a string; a comment if all it
holds is comment (a docstring is one); else code. Rows are 0-based, as the parser numbers them.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import and_
from typing import NamedTuple

from tree_sitter import Node

from core.events.intelligence import LineCounts
from core.intelligence.languages import Comments


class Span(NamedTuple):
    """Where a node lies: bytes [start, end) and rows first to last, inclusive."""

    start: int
    end: int
    first: int
    last: int


def span(node: Node) -> Span:
    """The span of `node`; a newline that ends it does not make it touch the next row."""
    first = node.start_point[0]
    last, column = node.end_point
    return Span(node.start_byte, node.end_byte, first, last - 1 if column == 0 and last > first else last)


class CountedLines(NamedTuple):
    """The counts; for each row whether a documentation comment ends there and owns it; all comment text."""

    counts: LineCounts
    documenting: bytearray
    comments: list[bytes]


def count_by_nodes(text: bytes, nodes: Sequence[Node], documentation: tuple[bytes, ...]) -> CountedLines:
    """Count the lines of parsed `text`, whose comments and docstrings are `nodes`, in order.

    A comment that starts with one of `documentation` documents what follows it. Linear in the text
    however many comments share a line: every gap between them is looked at once.
    """
    rows = _rows(text)
    commented, documenting = bytearray(len(rows) + 1), bytearray(len(rows) + 1)
    comments = []
    row, clear, tail = -1, False, 0  # the row being judged; whether only comment up to column `tail`
    for node in nodes:
        comment = text[node.start_byte : node.end_byte]
        comments.append(comment)
        first, column = node.start_point
        last, end = node.end_point
        if end == 0 and last > first:
            last, end = last - 1, len(rows[last - 1])
        if first != row:
            if clear and not rows[row][tail:].strip():
                commented[row] = 1
            row, clear = first, column == 0 or not rows[first][:column].strip()
        elif clear:
            clear = not rows[first][tail:column].strip()
        if last > first:
            commented[first] = clear
            for inner in range(first + 1, last):
                commented[inner] = bool(rows[inner].strip())
            row, clear = last, True
        tail = end
        if comment.startswith(documentation):
            documenting[last] = 1
    if clear and not rows[row][tail:].strip():
        commented[row] = 1
    owned = bytearray(map(and_, commented, documenting)) if any(documenting) else documenting
    return CountedLines(_counts(rows, commented.count(1)), owned, comments)


def count_by_syntax(text: bytes, comments: Comments | None) -> LineCounts:
    """Count the lines of `text` without parsing it; None: the language's comments are not known."""
    rows = _rows(text)
    if comments is None:
        return _counts(rows, None)
    if not comments.line and not comments.block:
        return _counts(rows, 0)
    commented = 0
    closing: bytes | None = None
    for raw in rows:
        line = raw.strip()
        if not line:
            continue
        starts_inside = closing is not None
        rest, closing = _after_blocks(line, comments, closing)
        if not rest and (starts_inside or _starts_comment(line, comments)):
            commented += 1
    return _counts(rows, commented)


def _after_blocks(line: bytes, comments: Comments, closing: bytes | None) -> tuple[bytes, bytes | None]:
    """The code on `line`, and the delimiter that ends the block comment still open after it."""
    code = b""
    while line:
        if closing is not None:
            _, found, line = line.partition(closing)
            if not found:
                return code, closing
            closing, line = None, line.lstrip()
            continue
        if line.startswith(comments.line) and not line.startswith(
            tuple(start for start, _ in comments.block)
        ):
            return code, None
        opened = [(at, start, end) for start, end in comments.block if (at := line.find(start)) >= 0]
        if not opened:
            return code + line, None
        at, start, closing = min(opened)
        code, line = code + line[:at], line[at + len(start) :]
    return code, closing


def _starts_comment(line: bytes, comments: Comments) -> bool:
    return line.startswith(comments.line + tuple(start for start, _ in comments.block))


def _rows(text: bytes) -> list[bytes]:
    rows = text.split(b"\n")
    if not rows[-1]:
        rows.pop()
    return rows


def _counts(rows: list[bytes], comment: int | None) -> LineCounts:
    blank = rows.count(b"") + sum(map(bytes.isspace, rows))
    return LineCounts(total=len(rows), code=len(rows) - blank - (comment or 0), comment=comment, blank=blank)
