"""Text or binary, and in which encoding: enough to show text, never used to change its bytes."""

from __future__ import annotations

import codecs
import re

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Controls that no legacy text has; TAB, LF, FF, CR, ESC and the DOS end-of-file mark it may have.
_CONTROLS = bytes([*range(0x09), 0x0B, *range(0x0E, 0x1A), *range(0x1C, 0x20), 0x7F])
_HIGH = re.compile(rb"[\x80-\xff]+")
# Where western text has its letters; and, in Windows-1252, its quotes, dashes and marks.
_WESTERN = re.compile(rb"[\xa0-\xff\x80\x82\x84-\x87\x89\x8b\x91-\x97\x99\x9b]")
_C1 = re.compile(rb"[\x80-\x9f]")
_CANDIDATES = ["cp1252", "cp932", "euc_jp", "gb18030", "big5", "cp949", "cp1251", "koi8_r"]
# The narrower names that people use, where the bytes allow them.
_NARROWER = {"cp932": "shift_jis", "cp949": "euc_kr", "gb18030": "gbk"}
_SAMPLE = 4096
_LINE = 512


def detect_encoding(content: bytes, *, complete: bool = True) -> str | None:
    """The encoding of text, a name that `bytes.decode` takes; None for binary content.

    UTF-8 unless a byte order mark or the bytes say otherwise; NUL outside UTF-16 and UTF-32 means
    binary. A legacy encoding is a good guess. With `complete` false `content` is a beginning, and
    may end within a character.
    """
    if content.isascii():
        return None if b"\0" in content else "utf-8"
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            text = _decoded(content, encoding, complete=complete)
            return encoding if text is not None and "\0" not in text else None
    if b"\0" in content:
        return None
    if _decoded(content, "utf-8", complete=complete) is not None:
        return "utf-8"
    return _legacy(content, complete=complete)


def _decoded(content: bytes, encoding: str, *, complete: bool) -> str | None:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(content, final=complete)
    except (UnicodeDecodeError, UnicodeError):
        return None


def _legacy(content: bytes, *, complete: bool) -> str | None:
    sample = _telling_lines(content)
    if (
        content[:_SAMPLE].translate(None, _CONTROLS) != content[:_SAMPLE]
        or sample.translate(None, _CONTROLS) != sample
    ):
        return None
    if all(len(run) == 1 and _WESTERN.match(run) for run in _HIGH.findall(sample)):
        return "cp1252" if _C1.search(sample) else "latin-1"
    guess = _guess(sample)
    if guess is None or _decoded(content, guess, complete=complete) is None:
        return _single_byte(content, sample)
    narrower = _NARROWER.get(guess)
    if narrower is not None and _decoded(content, narrower, complete=complete) is not None:
        return narrower
    return _single_byte(content, sample) if guess == "cp1252" else guess


def _guess(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes  # 30 ms to import, and rarely needed

    best = from_bytes(sample, cp_isolation=_CANDIDATES).best()
    return best.encoding if best is not None else None


def _single_byte(content: bytes, sample: bytes) -> str | None:
    """Western text if most of it is ASCII: a last resort that keeps noise out."""
    if 2 * sum(map(len, _HIGH.findall(sample))) > len(sample):
        return None
    if not _C1.search(content):
        return "latin-1"
    return "cp1252" if _decoded(content, "cp1252", complete=True) is not None else None


def _telling_lines(content: bytes) -> bytes:
    """Some kilobytes of the lines that are not ASCII: all evidence there is."""
    lines: list[bytes] = []
    room = _SAMPLE
    position = 0
    while room > 0 and (found := _HIGH.search(content, position)):
        start = max(content.rfind(b"\n", position, found.start()) + 1, position, found.start() - _LINE // 2)
        end = content.find(b"\n", found.end())
        position = len(content) if end < 0 else end + 1
        line = content[start : min(position, start + _LINE)]
        lines.append(line)
        room -= len(line)
    return b"".join(lines)
