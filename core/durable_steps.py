"""Steps that must not be lost: each is repeated until it succeeds, and says meanwhile what it waits for."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable

from core.errors import AgentUnwell, RetryableError
from core.safety.display import display
from core.safety.redact import redact

logger = logging.getLogger(__name__)

Backoff = Callable[[int], Awaitable[None]]


async def backoff(attempt: int) -> None:
    """Sleep before attempt `attempt + 1`: 0.2 s, doubling, at most 10 s."""
    await asyncio.sleep(min(10.0, 0.1 * 2**attempt))


def unwell_disk(error: OSError) -> AgentUnwell:
    """What a file operation that failed says of this agent: which place, why, and what to do."""
    where = display(str(error.filename), 200) if error.filename else "this machine"
    hint = "make room there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "look at the disk"
    return AgentUnwell(f"{where}: {error.strerror or error}", hint=f"{hint}; the agent goes on by itself")


class DurableSteps:
    """Runs steps such as writing a record. Many may run at once; each is `blocked` while it fails."""

    def __init__(self, *, attempts: int | None = None, wait: Backoff = backoff) -> None:
        """`attempts` bounds how often a step is tried; None is for ever, as a service must."""
        self._attempts = attempts
        self._wait = wait
        self._stuck: dict[int, str] = {}
        self._steps = 0

    @property
    def blocked(self) -> str | None:
        """What cannot be written and why, for the step that has been stuck longest; None where none is."""
        return next(iter(self._stuck.values()), None)

    async def run(self, what: str, step: Callable[[], Awaitable[None]]) -> None:
        """Repeat `step` until it succeeds. Raises its `RetryableError` after the last attempt.

        A file operation that fails is repeated too: a full disk is made room on, an event is not at fault.
        """
        self._steps += 1
        number, attempt = self._steps, 0
        try:
            while True:
                try:
                    return await step()
                except (RetryableError, OSError) as failed:
                    error = unwell_disk(failed) if isinstance(failed, OSError) else failed
                    attempt += 1
                    self._stuck[number] = f"{what}: {redact(str(error))}"
                    if self._attempts is not None and attempt >= self._attempts:
                        raise error from None
                    logger.warning("%s cannot be written, attempt %d: %s", what, attempt, redact(str(error)))
                    await self._wait(attempt)
        finally:
            self._stuck.pop(number, None)
