"""Inline: the bytes are in the event."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import ArchonError, ContentMissing, InvalidEvent
from core.events.codec import decode_content
from core.events.request import Carrier, IndexRequest, RequestedFile
from core.fetchers.base import Fetched


class InlineFetcher:
    """Decodes what `core.strategies.inline` encoded."""

    carrier = Carrier.INLINE

    def refuses(self, request: IndexRequest, file: RequestedFile) -> str | None:
        return "the event carries no content" if file.content is None else None

    async def fetch_many(
        self, request: IndexRequest, files: Sequence[RequestedFile]
    ) -> Sequence[Fetched | ArchonError]:
        return [self._fetch(file) for file in files]

    def _fetch(self, file: RequestedFile) -> Fetched | ArchonError:
        if file.content is None:
            return ContentMissing("the event carries no content")
        try:
            content = decode_content(file.content, file.content_encoding)
        except InvalidEvent as error:
            return error
        # Base64 has more characters than bytes, text has at most as many.
        return Fetched(content, wire_bytes=max(len(content), len(file.content)))

    async def close(self) -> None: ...
