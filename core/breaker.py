"""Circuit breakers: a backend that is down is left alone for a while, then probed with one call.

Closed, every call passes; after some failures in a row it opens and none does; after a pause it is
half-open and one call passes as a probe, whose outcome closes or reopens it.
Source: M. Nygard, Release It!, "Circuit Breaker".
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

from core.errors import BackendUnavailable, CircuitOpen, DeadlineExceeded
from core.progress import BreakerChanged, Listener, ignore
from core.safety.display import display

logger = logging.getLogger(__name__)

# Names of backends come from events: how many are remembered must be bounded.
MOST_BREAKERS: Final = 256


class BreakerState(StrEnum):
    """Worst last."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class CircuitBreaker:
    """The breaker of one backend: of a `kind` (`object_storage`, `git_reference`) and a name."""

    def __init__(
        self,
        kind: str,
        name: str,
        *,
        side: str,
        failures: int = 5,
        pause_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        listener: Listener = ignore,
    ) -> None:
        """Opens after `failures` in a row, for `pause_s` seconds. `side` is `publisher` or `consumer`."""
        self.kind = kind
        self.name = name
        self.state = BreakerState.CLOSED
        self._side = side
        self._limit = failures
        self._pause_s = pause_s
        self._clock = clock
        self._tell = listener
        self._failures = 0
        self._since = clock()
        self._last: Exception | None = None

    @property
    def wait_s(self) -> float:
        """Seconds until the next call may pass; 0 if one may now."""
        if self.state is BreakerState.CLOSED:
            return 0.0
        return max(0.0, self._since + self._pause_s - self._clock())

    def admit(self) -> bool:
        """Whether a call may pass now. In half-open that call is the probe: `record` its outcome.

        A probe whose outcome never comes (its caller was cancelled) is given up after another pause.
        """
        if self.state is BreakerState.CLOSED:
            return True
        if self.wait_s > 0:
            return False
        self._change(BreakerState.HALF_OPEN)
        return True

    def record(self, error: Exception | None) -> None:
        """A call's outcome. Only an unreachable or silent backend is a failure: a refusal is an answer."""
        if self.state is BreakerState.OPEN:
            return  # a call that began before it opened
        if not isinstance(error, BackendUnavailable | DeadlineExceeded):
            self._failures = 0
            self._change(BreakerState.CLOSED)
            return
        self._failures += 1
        self._last = error
        if self.state is BreakerState.HALF_OPEN or self._failures >= self._limit:
            self._change(BreakerState.OPEN)

    def refusal(self) -> CircuitOpen:
        """What to answer for a call that may not pass."""
        return CircuitOpen(
            f"{self} is left alone for {self.wait_s:.0f} s after {self._failures} failures: {self._last}",
            hint="it is tried again by itself",
            retry_after=self.wait_s,
        )

    def _change(self, state: BreakerState) -> None:
        before, self.state = self.state, state
        self._since = self._clock()
        if before is state:
            return
        level = logging.WARNING if state is BreakerState.OPEN else logging.INFO
        logger.log(level, "circuit breaker of %s: %s -> %s", self, before, state)
        self._tell(BreakerChanged(self._side, self.kind, str(display(self.name)), state, self._failures))

    def __str__(self) -> str:
        return f"{self.kind} {display(self.name)}" if self.name else self.kind


class Breakers:
    """The breakers of one side, made when they are first asked for."""

    def __init__(
        self,
        side: str,
        *,
        failures: int = 5,
        pause_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        listener: Listener = ignore,
    ) -> None:
        """See `CircuitBreaker`. The backend that was not asked for the longest is forgotten first."""
        self._side = side
        self._failures = failures
        self._pause_s = pause_s
        self._clock = clock
        self._listener = listener
        self._breakers: OrderedDict[tuple[str, str], CircuitBreaker] = OrderedDict()

    def of(self, kind: str, name: str = "") -> CircuitBreaker:
        """The breaker of a backend."""
        key = (kind, name)
        if key not in self._breakers:
            self._breakers[key] = CircuitBreaker(
                kind,
                name,
                side=self._side,
                failures=self._failures,
                pause_s=self._pause_s,
                clock=self._clock,
                listener=self._listener,
            )
            if len(self._breakers) > MOST_BREAKERS:
                self._breakers.popitem(last=False)
        self._breakers.move_to_end(key)
        return self._breakers[key]

    @property
    def tripped(self) -> Sequence[CircuitBreaker]:
        """Those that are not closed."""
        return [breaker for breaker in self._breakers.values() if breaker.state is not BreakerState.CLOSED]
