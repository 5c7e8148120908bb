"""Single flight: of several callers that want the same thing at once, one works and all get the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")


class SingleFlight(Generic[Key, Answer]):
    """Calls under way, by key. For use on one event loop."""

    def __init__(self) -> None:
        self._flights: dict[Key, asyncio.Task[Answer]] = {}
        self._waiting: dict[asyncio.Task[Answer], int] = {}

    async def run(self, key: Key, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of `work`, or of the call for `key` that is under way already.

        Its error is raised to everybody. A caller that is cancelled leaves the others waiting; the work
        is cancelled with the last of them.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.ensure_future(_awaiting(work))
            self._flights[key] = flight
            self._waiting[flight] = 0
            flight.add_done_callback(lambda done: self._land(key, done))
        self._waiting[flight] += 1
        try:
            return await asyncio.shield(flight)
        finally:
            if flight in self._waiting:
                self._waiting[flight] -= 1
                if not self._waiting[flight]:
                    self._land(key, flight)
                    flight.cancel()

    def _land(self, key: Key, flight: asyncio.Task[Answer]) -> None:
        self._waiting.pop(flight, None)
        if self._flights.get(key) is flight:
            del self._flights[key]


async def _awaiting(work: Callable[[], Awaitable[Answer]]) -> Answer:
    return await work()
