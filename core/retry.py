"""Retry: a bounded number of attempts, backoff with jitter, one total deadline."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from core.errors import ArchonError, DeadlineExceeded, RetryableError

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long to try. Times are seconds; `deadline_s` None is no deadline.

    The n-th wait is drawn from 0 to `base_s * 2**(n-1)`, at most `longest_s` ("full jitter"); a
    backend's `Retry-After` is kept to instead, where it asks for more.
    """

    attempts: int = 3
    deadline_s: float | None = 60.0
    base_s: float = 0.2
    longest_s: float = 10.0
    sleep: Callable[[float], Awaitable[object]] = field(default=asyncio.sleep, repr=False)
    random: Callable[[], float] = field(default=random.random, repr=False)

    async def run(self, operation: Callable[[int], Awaitable[Result]], what: str) -> Result:
        """The answer of `operation(attempt)`, called again after a `RetryableError`; attempts count from 1.

        Raises the last error when attempts are used up or the next wait would pass the deadline, any
        other error at once, and `DeadlineExceeded`, naming `what`, when time runs out midway. Errors say
        how many attempts there were.
        """
        started = asyncio.get_running_loop().time()
        attempt = 1
        try:
            async with asyncio.timeout(self.deadline_s) as limit:
                while True:
                    try:
                        return await operation(attempt)
                    except RetryableError as error:
                        wait = max(self.wait(attempt), error.retry_after or 0.0)
                        spent = asyncio.get_running_loop().time() - started
                        is_late = self.deadline_s is not None and spent + wait >= self.deadline_s
                        if is_late or attempt == self.attempts:
                            raise
                    await self.sleep(wait)
                    attempt += 1
        except ArchonError as error:
            error.attempts = attempt
            raise
        except TimeoutError:
            if not limit.expired():
                raise
            late = DeadlineExceeded(f"{what} took longer than {self.deadline_s:g} s")
            late.attempts = attempt
            raise late from None

    def wait(self, attempt: int) -> float:
        """Seconds to wait after the failed attempt number `attempt`."""
        return self.random() * min(self.longest_s, self.base_s * 2.0 ** (attempt - 1))
