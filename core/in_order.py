"""Steps that run in the order of their messages, although the messages are worked on side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class InOrder:
    """Queues of turns, one queue per key.

    `enter(key)` is called when a message comes and gives its `Turn`; inside `async with turn.taken()` every
    earlier turn of the same key has ended. A turn must end, by `taken()` or by `end()`, or later ones wait
    for ever.
    """

    def __init__(self) -> None:
        self._last: dict[Hashable, Turn] = {}

    def enter(self, key: Hashable) -> Turn:
        """The next turn of `key`."""
        turn = self._last[key] = Turn(self, key, self._last.get(key))
        return turn

    def leave(self, turn: Turn) -> None:
        """`turn` has ended; a queue without turns is forgotten."""
        if self._last.get(turn.key) is turn:
            del self._last[turn.key]


class Turn:
    """One place in a queue."""

    def __init__(self, queue: InOrder, key: Hashable, before: Turn | None) -> None:
        self._queue = queue
        self.key = key
        self._before = before
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Wait for the turns before this one, then end it on leaving."""
        try:
            if self._before is not None:
                await self._before.wait()
                self._before = None
            yield
        finally:
            self.end()

    async def wait(self) -> None:
        """Return when this turn and all before it have ended."""
        await self._ended.wait()
        if self._before is not None:  # it was given up before its turn came
            await self._before.wait()

    def end(self) -> None:
        """Let the next turn of the key go on; idempotent."""
        if not self._ended.is_set():
            self._ended.set()
            self._queue.leave(self)
