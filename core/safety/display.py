"""Untrusted text made safe to show: nothing in it moves the cursor, reorders or hides other text."""

from __future__ import annotations

import re

DISPLAY_LIMIT = 512
ELLIPSIS = "…"

# Code points that `str.isprintable` lets through although they are drawn as nothing: the combining
# grapheme joiner, Hangul fillers, invisible Khmer vowels, Mongolian and supplementary selectors.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\uffa0\U000e0100-\U000e01ef]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def display(text: str, limit: int | None = DISPLAY_LIMIT) -> str:
    r"""Show `text` on one line, safely: printable Unicode stays, everything else becomes visible.

    Controls (C0, C1, DEL, ESC), bidirectional and zero-width characters, line separators and blanks
    other than U+0020 become `\n`, `\x1b`, `\u202e`; a byte that was not UTF-8 (PEP 383 surrogate
    escape) becomes `\xNN`. A backslash stays itself: the result is for eyes, not for decoding.
    More than `limit` characters are elided in the middle; None shows all.
    """
    if text.isprintable() and (text.isascii() or not _BLANK.search(text)):
        return text if limit is None or len(text) <= limit else _elide(text, text, limit)
    if limit is None or len(text) <= limit:
        pieces = [_visible(char) for char in text]
        if limit is None or sum(map(len, pieces)) <= limit:
            return "".join(pieces)
    # Escapes only lengthen, so what is shown lies within the first and the last `limit` characters.
    head = [_visible(char) for char in text[:limit]]
    tail = [_visible(char) for char in text[-limit:]]
    return _elide(head, tail, limit)


def _elide(head: str | list[str], tail: str | list[str], limit: int) -> str:
    """The start of `head` and the end of `tail` around an ellipsis; a piece is never cut in two."""
    room = max(limit - len(ELLIPSIS), 0)
    start = _fitting(head, room - room // 2)
    end = _fitting(tail[::-1], room // 2)
    return "".join(start) + ELLIPSIS + "".join(end[::-1])


def _fitting(pieces: str | list[str], room: int) -> str | list[str]:
    used = 0
    for count, piece in enumerate(pieces):
        used += len(piece)
        if used > room:
            return pieces[:count]
    return pieces


def _visible(char: str) -> str:
    if char.isprintable() and not _BLANK.match(char):
        return char
    code = ord(char)
    if code < 0x80:
        return _NAMED.get(char, f"\\x{code:02x}")
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
