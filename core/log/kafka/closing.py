"""Closing connections to brokers that may not answer any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final

CLOSE_S: Final = 2.0
"""Seconds for saying goodbye to a broker; the group notices silence by itself."""

logger = logging.getLogger(__name__)


async def within(seconds: float, closing: Awaitable[None]) -> None:
    """Await `closing`, and give it up after `seconds`: what is left open ends with the process."""
    task = asyncio.ensure_future(closing)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if done:
        if not task.cancelled():  # as the clients' own tasks are when a broker went away
            task.result()
        return
    logger.info("a connection to Kafka does not close within %g s: it is given up", seconds)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.wait({task}, timeout=0.5)
