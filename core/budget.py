"""A bound on what is held at once, in bytes or files, shared by whoever holds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Budget:
    """At most `limit` units at once; whoever asks for more than all of it waits to have it alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._changed = asyncio.Condition()

    @property
    def held(self) -> int:
        """Units held now."""
        return self._held

    @asynccontextmanager
    async def holding(self, size: int) -> AsyncGenerator[None, None]:
        """Wait until `size` units are free, and hold them for the block."""
        amount = min(size, self._limit)
        async with self._changed:
            await self._changed.wait_for(lambda: self._held + amount <= self._limit)
            self._held += amount
        try:
            yield
        finally:
            self._held -= amount
            await asyncio.shield(self._tell())

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
