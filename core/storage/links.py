"""Presigned links, followed as the URL policy allows."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp

from core.safety.url import UrlPolicy
from core.storage.http import BLOCK, Refused, explain, new_session, requesting


class LinkReader:
    """Downloads by link over one session, to checked addresses only."""

    def __init__(self, policy: UrlPolicy, in_flight: int = 16) -> None:
        self._policy = policy
        self._in_flight = in_flight
        self._session: aiohttp.ClientSession | None = None

    def check(self, url: str) -> None:
        """Raises `UnsafeInput` where the link may not be followed."""
        self._policy.check(url)

    @asynccontextmanager
    async def following(self, url: str) -> AsyncGenerator[AsyncGenerator[bytes, None], None]:
        """The bytes behind a link, in blocks.

        Raises `UnsafeInput`, `AccessDenied`, `ContentMissing`, or `BackendUnavailable`.
        """
        host = self._policy.check(url).hostname or ""
        if self._session is None:
            self._session = new_session(self._in_flight, self._policy)
        try:
            async with requesting(self._session, "GET", url) as response:

                async def blocks() -> AsyncGenerator[bytes, None]:
                    async for block in response.content.iter_chunked(BLOCK):
                        yield block

                yield blocks()
        except Refused as refused:
            raise explain(refused, host) from None

    async def close(self) -> None:
        """Idempotent."""
        session, self._session = self._session, None
        if session:
            await session.close()
