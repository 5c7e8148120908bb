"""When to look at a repository again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

JITTER = 0.1
"""Share of an interval by which looks are spread, so that many repositories do not gather."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Times are seconds. After failures in a row the interval doubles with each, up to `longest_s`."""

    interval_s: float
    longest_s: float
    random: Callable[[], float] = field(default=random.random, repr=False)

    def wait(self, failures: int, retry_after: float | None = None) -> float:
        """The time to the next look after so many failures in a row; never less than a host asked for.

        After success the interval, give or take `JITTER`; after a failure half to all of the backoff.
        """
        if not failures:
            return self.interval_s * (1 + JITTER * (2 * self.random() - 1))
        # 2**63 intervals are past every limit; larger powers overflow.
        backoff = self.interval_s * 2.0 ** min(failures - 1, 63)
        longest = max(self.longest_s, self.interval_s)
        return max(min(backoff, longest) * (0.5 + self.random() / 2), retry_after or 0.0)
