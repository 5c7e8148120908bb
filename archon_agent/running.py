"""Running coroutines from commands: signals stop work that has something to finish, and cancel other work."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from archon_agent.ending import Interrupted
from archon_agent.exit_codes import ExitCode

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

CLOSING_S = 4.5
"""Seconds after the grace time in which connections are closed; then the process ends whatever hangs."""


def run_async(work: Callable[[asyncio.Event], Coroutine[Any, Any, T]], *, grace_s: float | None = None) -> T:
    """Run `work(stop)`; SIGINT and SIGTERM set `stop`, the second of them cancels the work.

    With `grace_s` the process ends with exit code 0 at the latest `grace_s + CLOSING_S` seconds after the
    first signal, even where a backend does not let go: a service must end in time.
    """
    return _run(work, patient=True, grace_s=grace_s)


def run_now(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `work()`, which has nothing to finish: the first SIGINT or SIGTERM cancels it."""
    return _run(lambda _stop: work(), patient=False, grace_s=None)


def _run(
    work: Callable[[asyncio.Event], Coroutine[Any, Any, T]], *, patient: bool, grace_s: float | None
) -> T:
    import asyncio  # here, so that --help does not wait for it

    async def supervised() -> T:
        stop = asyncio.Event()
        task = asyncio.ensure_future(work(stop))

        signals = 0

        def on_signal() -> None:
            nonlocal signals
            signals += 1
            if stop.is_set() or not patient:
                task.cancel()
            elif grace_s is not None:
                _end_after(grace_s + CLOSING_S)
            stop.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal)
        try:
            return await task
        except asyncio.CancelledError:
            if grace_s is not None and signals == 1:  # a client's own task, cancelled while it closed
                raise typer.Exit(ExitCode.OK) from None
            raise Interrupted from None

    return asyncio.run(supervised())


def _end_after(seconds: float) -> None:
    """End the process in `seconds`; a thread sees to it, for the event loop may hang too."""

    def end() -> None:
        print("archon: a backend does not answer, ended without it", file=sys.stderr, flush=True)
        os._exit(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
