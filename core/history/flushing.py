"""Writing down now and then what gathers meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Sleep = Callable[[float], Awaitable[object]]


@asynccontextmanager
async def flushing(
    flush: Callable[[], Awaitable[None]], interval_s: float, sleep: Sleep = asyncio.sleep
) -> AsyncIterator[None]:
    """Await `flush` every `interval_s` seconds while inside and once more at the end, never two at once."""
    turn = asyncio.Lock()

    async def go_on() -> None:
        while True:
            await sleep(interval_s)
            async with turn:
                await flush()

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        async with turn:
            task.cancel()
        await asyncio.wait({task})
        await flush()
