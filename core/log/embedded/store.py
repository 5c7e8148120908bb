"""What the parts of one open embedded log share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from core.database import Database


@dataclass(frozen=True, slots=True)
class Store:
    """Two connections to the file, so that reading never waits behind a write; options and time.

    `partitions` is for topics made on first use; `clock` is wall time in seconds, shared by processes.
    """

    reader: Database
    writer: Database
    partitions: int
    session_timeout_s: float
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.clock() * 1000)

    def expired_ms(self) -> int:
        """A member not heard of since then is gone."""
        return self.now_ms() - int(self.session_timeout_s * 1000)
