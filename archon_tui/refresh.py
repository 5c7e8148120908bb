"""One coordinator for everything that is polled.

A source is asked again when its time has come and its last answer is in; an answer to a question that is
no longer asked (an older generation) is dropped; nothing is asked while a dialog is open. A source that
fails keeps its last value, which grows stale and says how old it is, and is asked again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from core.errors import ArchonError
from core.safety.redact import redact

T = TypeVar("T")
DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """The last value of a source, when it was taken (monotonic seconds), and why there is no newer one."""

    value: T | None = None
    taken_at: float | None = None
    error: str | None = None
    hint: str | None = None

    @property
    def is_live(self) -> bool:
        return self.error is None and self.taken_at is not None

    def age(self, now: float) -> float | None:
        """Seconds since the value was taken; None where there never was one."""
        return None if self.taken_at is None else max(0.0, now - self.taken_at)


class Source(Generic[T]):
    """Something to ask every `every_s` seconds. `told` gets each new reading."""

    def __init__(
        self,
        name: str,
        ask: Callable[[], Awaitable[T]],
        told: Callable[[Reading[T]], None],
        *,
        every_s: float = 2.0,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.name = name
        self.ask = ask
        self.told = told
        self.every_s = every_s
        self.deadline_s = deadline_s
        self.reading: Reading[T] = Reading()
        self.due_at = float("-inf")
        self.task: asyncio.Task[None] | None = None


class Coordinator:
    """Asks sources. `tick` it a few times a second from the loop's own thread."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sources: list[Source[Any]] = []
        self._generation = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.paused = False

    @property
    def sources(self) -> tuple[Source[Any], ...]:
        return tuple(self._sources)

    def show(self, sources: list[Source[Any]]) -> None:
        """Ask these from now on, and no longer the others."""
        self._forget()
        self._sources = sources
        for source in sources:
            source.due_at = float("-inf")
        self.tick()

    def again(self) -> None:
        """Ask everything now; answers on the way are dropped."""
        self.show(self._sources)

    def tick(self) -> None:
        """Ask what is due."""
        now = self._clock()
        for source in self._sources if not self.paused else ():
            if source.task is None and now >= source.due_at:
                source.due_at = now + source.every_s
                source.task = asyncio.create_task(self._ask(source, self._generation))
                self._tasks.add(source.task)
                source.task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Ask nothing any more."""
        self._forget()
        self._sources = []
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _forget(self) -> None:
        self._generation += 1
        for source in self._sources:
            if source.task:
                source.task.cancel()
            source.task = None

    async def _ask(self, source: Source[Any], generation: int) -> None:
        reading = await answer(source, self._clock)
        if generation != self._generation:
            return
        source.task = None
        source.reading = reading
        source.told(reading)


async def answer(source: Source[T], clock: Callable[[], float]) -> Reading[T]:
    """Ask once, within the deadline; what goes wrong leaves the value that was known."""
    try:
        async with asyncio.timeout(source.deadline_s):
            return Reading(await source.ask(), clock())
    except TimeoutError:
        return replace(
            source.reading, error=f"{source.name}: no answer within {source.deadline_s:g} s", hint=None
        )
    except ArchonError as error:
        return replace(source.reading, error=redact(str(error)), hint=error.hint)
    except Exception as error:  # noqa: BLE001 - whatever a backend raises, the screen shows it
        return replace(
            source.reading, error=redact(f"{source.name}: {type(error).__name__}: {error}"), hint=None
        )
