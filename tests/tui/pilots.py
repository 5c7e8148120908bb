"""Waiting for what a screen shows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot


async def until(pilot: Pilot[Any], holds: Callable[[], bool], deadline_s: float = 30.0) -> None:
    """Let the application go on until `holds()`. Raises `TimeoutError`."""
    async with asyncio.timeout(deadline_s):
        while not holds():
            await pilot.pause(0.02)
