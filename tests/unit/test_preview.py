"""What a message says to a person: never a content, a signed link or a secret, whatever the bytes are."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from core.events.preview import preview

URL = "https://bucket.example/a?X-Amz-Signature=0123456789abcdef0123456789abcdef"


def test_contents_and_links_are_elided() -> None:
    event = {"payload": {"files": [{"relative_path": "a.py", "content": "secret = 1", "content_url": URL}]}}
    (file,) = preview(json.dumps(event).encode())["payload"]["files"]
    assert file == {
        "relative_path": "a.py",
        "content": "<10 characters>",
        "content_url": f"<{len(URL)} characters>",
    }


def test_a_link_elsewhere_loses_its_signature() -> None:
    assert "0123456789abcdef" not in str(preview(json.dumps({"message": f"GET {URL} failed"}).encode()))


def test_poison_is_shown_on_one_line() -> None:
    assert preview(b"\xff\x1b[2J\n{") == "\\xff\\x1b[2J\\n{"


def test_a_tombstone_says_nothing() -> None:
    assert preview(None) is None


def test_what_is_nested_without_end_is_cut() -> None:
    nested = b"[" * 200 + b"]" * 200
    assert "…" in str(preview(nested))
    assert preview(b"[" * 100_000)


@given(st.binary(max_size=200))
def test_any_bytes_have_a_preview(value: bytes) -> None:
    json.dumps(preview(value))
