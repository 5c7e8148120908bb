"""The beginning of a file, as lines with named styles. Runs in a thread: lexing 64 KiB takes up to 0.2 s."""

from __future__ import annotations

from functools import cache
from itertools import islice

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.lexers.special import TextLexer
from pygments.token import Comment, Keyword, Literal, Name, Operator, String, _TokenType
from pygments.util import ClassNotFound

from archon_tui.widgets.painted import Line, Piece

MAX_LINES = 4000
MAX_COLUMNS = 1000
HEX_BYTES = 4096
# Names of core.repository.languages that Pygments spells otherwise.
_LEXERS = {"csharp": "c#", "cpp": "c++", "tsx": "tsx", "objective-cpp": "objective-c++"}
_STYLES: dict[_TokenType, str] = {
    Comment: "comment",
    Keyword: "keyword",
    Literal: "literal",
    String: "string",
    Name.Function: "title",
    Name.Class: "title",
    Name.Decorator: "accent",
    Operator.Word: "keyword",
}


def lines_of(content: bytes, language: str | None, encoding: str | None) -> list[Line]:
    """Highlighted text, or a hex dump of what is no text."""
    if encoding is None:
        return hex_lines(content[:HEX_BYTES])
    text = content.decode(encoding, "replace")
    return highlight(text, language)


def highlight(text: str, language: str | None) -> list[Line]:
    """Lines of pieces; at most `MAX_LINES` of at most `MAX_COLUMNS` characters."""
    lines: list[list[Piece]] = [[]]
    width = 0
    for token, value in _lexer(language).get_tokens(text):
        style = _style(token)
        for place, part in enumerate(value.split("\n")):
            if place:
                if len(lines) >= MAX_LINES:
                    return list(lines)
                lines.append([])
                width = 0
            shown = part.expandtabs(4)[: max(0, MAX_COLUMNS - width)]
            if shown:
                lines[-1].append((shown, style))
                width += len(shown)
    return list(lines[:-1] if not lines[-1] else lines)


def hex_lines(content: bytes) -> list[Line]:
    """Offset, sixteen bytes in hex, and the printable ASCII among them."""
    lines: list[Line] = []
    for start in range(0, len(content), 16):
        row = content[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in row)
        lines.append([(f"{start:08x}  ", "dim"), (f"{row.hex(' '):<48} ", ""), (text, "string")])
    return lines


def _lexer(language: str | None) -> Lexer:
    try:
        lexer: Lexer = get_lexer_by_name(_LEXERS.get(language or "", language or "text"), stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    return lexer


@cache
def _style(token: _TokenType | None) -> str:
    """The style of the nearest kind of token that has one."""
    if token is None:
        return ""
    return _STYLES.get(token) or _style(token.parent)


def numbered(lines: list[Line]) -> list[Line]:
    """The lines with their numbers."""
    digits = len(str(len(lines)))
    return [
        [(f"{number:>{digits}} ", "dim"), *line] for number, line in enumerate(islice(lines, MAX_LINES), 1)
    ]
