"""Inline: the event carries the content itself."""

from __future__ import annotations

import base64
from typing import Any

from core.events.common import ContentStrategy
from core.repository.facts import FileFacts
from core.strategies.base import Feasibility, PublishContext, SourceFile


class InlineStrategy:
    """Carries files up to `limit` raw bytes, inclusive (the contract's 100 KB by default)."""

    name = ContentStrategy.INLINE

    def __init__(self, limit: int) -> None:
        self._limit = limit

    async def prepare(self, context: PublishContext) -> dict[str, Any]:
        return {}

    def feasible(self, facts: FileFacts, context: PublishContext) -> Feasibility:
        if facts.entry.unread:
            return Feasibility(False, "its content stays on the Git host")
        if facts.size > self._limit:
            return Feasibility(False, f"{facts.size:,} B > {self._limit:,} B limit")
        if facts.size == 0:
            return Feasibility(True, "an empty file is content")
        return Feasibility(True, f"{'binary' if facts.is_binary else 'text'} up to {self._limit:,} B")

    async def pack(self, file: SourceFile, context: PublishContext) -> dict[str, Any]:
        return self.pack_now(file)

    def pack_now(self, file: SourceFile) -> dict[str, Any]:
        """`content` and `content_encoding`."""
        if file.content is None:
            raise ValueError("inline needs the whole content")
        content, encoding = encode_content(file.content, file.facts.encoding)
        return {"content": content, "content_encoding": encoding}

    async def close(self) -> None: ...


def encode_content(content: bytes, encoding: str | None) -> tuple[str, str]:
    """Content as JSON text and its wire encoding; decoding gives the same bytes back.

    UTF-8 (with or without BOM) and Latin-1 stay readable; every other text, and binary, goes as base64.
    """
    if encoding in ("utf-8", "utf-8-sig", "ascii"):
        return content.decode("utf-8"), "utf-8"
    if encoding == "latin-1":
        return content.decode("latin-1"), "latin-1"
    return base64.b64encode(content).decode("ascii"), "base64"
