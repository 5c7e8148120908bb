"""Running coroutines from commands: signals stop work that has something to finish, and cancel other work."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from archon_agent.ending import Interrupted

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


def run_async(work: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Run `work(stop)`; SIGINT and SIGTERM set `stop`, the second of them cancels the work."""
    return _run(work, patient=True)


def run_now(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `work()`, which has nothing to finish: the first SIGINT or SIGTERM cancels it."""
    return _run(lambda _stop: work(), patient=False)


def _run(work: Callable[[asyncio.Event], Coroutine[Any, Any, T]], *, patient: bool) -> T:
    import asyncio  # here, so that --help does not wait for it

    async def supervised() -> T:
        stop = asyncio.Event()
        task = asyncio.ensure_future(work(stop))

        def on_signal() -> None:
            if stop.is_set() or not patient:
                task.cancel()
            stop.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal)
        try:
            return await task
        except asyncio.CancelledError:
            raise Interrupted from None

    return asyncio.run(supervised())
