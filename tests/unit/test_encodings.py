"""Text or binary: never wrong about UTF-8, a good guess at the rest."""

from __future__ import annotations

import codecs
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.repository.encodings import detect_encoding

PLAIN_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(PLAIN_TEXT)
def test_utf8_is_always_recognised(text: str) -> None:
    content = text.encode()
    encoding = detect_encoding(content)
    assert encoding in ("utf-8", "utf-8-sig")
    assert content.decode(encoding) == text.removeprefix("\ufeff" if encoding == "utf-8-sig" else "")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), min_size=1), st.data())
def test_utf8_cut_anywhere_is_not_binary(text: str, data: st.DataObject) -> None:
    content = text.encode()
    cut = data.draw(st.integers(0, len(content)))
    assert detect_encoding(content[:cut], complete=False) == "utf-8"


@pytest.mark.parametrize("character", ["é", "日", "🦀", "\u07ff", "\uffff"])
def test_a_character_across_any_boundary(character: str) -> None:
    for size in (8192, 65536):
        for shift in range(1, len(character.encode()) + 1):
            content = (b"a" * (size - shift) + character.encode() * 3)[:size]
            assert detect_encoding(content, complete=False) == "utf-8"


def test_a_whole_file_that_ends_within_a_character_is_not_utf8() -> None:
    assert detect_encoding("aé".encode()[:-1]) != "utf-8"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_byte_order_mark_makes_wide_text(encoding: str, text: str) -> None:
    mark = {
        "utf-16-le": codecs.BOM_UTF16_LE,
        "utf-16-be": codecs.BOM_UTF16_BE,
        "utf-32-le": codecs.BOM_UTF32_LE,
        "utf-32-be": codecs.BOM_UTF32_BE,
    }[encoding]
    content = mark + text.encode(encoding)
    found = detect_encoding(content)
    assert found == encoding[:6]
    assert content.decode(found) == text


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        ("café au lait\n", "latin-1", "latin-1"),
        ("é", "latin-1", "latin-1"),
        ("x = 1\n" * 5000 + "# Auteur: Félix\n", "latin-1", "latin-1"),
        ("/* Größe der Straße über München */\nint x;\n", "latin-1", "latin-1"),
        ("// Åäö ÅÄÖ för\n", "latin-1", "latin-1"),
        ("temp = 20; // 20°C\n", "latin-1", "latin-1"),
        ("“quoted” – smart… €\n", "cp1252", "cp1252"),
        ("# コメント: 日本語のテキスト\nprint('こんにちは')\n", "shift_jis", "shift_jis"),
        ("int main(){}\n" * 2000 + "// 初期化処理\n", "shift_jis", "shift_jis"),
        (
            "これは日本語の文章です。漢字とひらがなとカタカナが含まれています。\n" * 200,
            "shift_jis",
            "shift_jis",
        ),
        ("# コメント: 日本語のテキスト\nprint('こんにちは')\n", "euc_jp", "euc_jp"),
        ("// 这是一个中文注释，用于测试编码检测\n", "gbk", "gbk"),
        ("// 這是一個中文註釋，用於測試編碼\n", "big5", "big5"),
        ("// 한국어 주석입니다. 인코딩 테스트\n", "euc_kr", "euc_kr"),
        ("// Это комментарий на русском языке\n", "cp1251", "cp1251"),
    ],
)
def test_legacy_encodings(text: str, encoding: str, found: str) -> None:
    content = text.encode(encoding)
    assert detect_encoding(content) == found
    assert content.decode(found) == text


@pytest.mark.parametrize(
    "content",
    [
        b"\0",
        b"text with \0 in it",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
        b"\x1f\x8b\x08\x08\xa1\xb2\xc3\xd4",
        b"\xff\xfe\x00",
        b"\xff\xd8\xff\xe0\x10JFIF\x01",
        bytes(range(1, 256)),
        codecs.BOM_UTF8 + b"a\0b",
        codecs.BOM_UTF16_LE + b"\x00\xd8",
    ],
)
def test_binary(content: bytes) -> None:
    assert detect_encoding(content) is None


def test_noise_is_binary() -> None:
    source = random.Random(1)
    assert all(detect_encoding(source.randbytes(256)) is None for _ in range(300))


@given(st.binary(max_size=300), st.booleans())
def test_whatever_is_named_can_decode(content: bytes, complete: bool) -> None:
    encoding = detect_encoding(content, complete=complete)
    if encoding is not None and complete:
        content.decode(encoding)


def test_empty_is_text() -> None:
    assert detect_encoding(b"") == "utf-8"
    assert detect_encoding(b"", complete=False) == "utf-8"
