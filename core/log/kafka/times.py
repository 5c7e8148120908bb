"""How long the oldest unread message has waited, found with few requests however many partitions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from core.log.base import TopicPartition

# Offset and time of the first message at or after a time, per partition; one request per broker.
AskByTime = Callable[
    [Mapping[TopicPartition, int]], Awaitable[Mapping[TopicPartition, tuple[int, int] | None]]
]

_ROUNDS = 8
_CLOSE_ENOUGH_MS = 1000


@dataclass(slots=True)
class _Bracket:
    """The message at `target` is no older than `low_ms` and no younger than `high_ms`."""

    target: int
    low_ms: int
    low: int
    high_ms: int
    high: int

    @property
    def is_close(self) -> bool:
        return self.low == self.target or self.high_ms - self.low_ms <= _CLOSE_ENOUGH_MS

    @property
    def guess_ms(self) -> int:
        """Interpolated: where messages came evenly, this is the answer."""
        if self.low == self.target:
            return self.low_ms
        share = (self.target - self.low) / max(1, self.high - self.low)
        return self.low_ms + round((self.high_ms - self.low_ms) * share)

    def probe_ms(self, round_number: int) -> int:
        """The next time to ask for: interpolated and halved in turn, so that bursts cannot stall it."""
        halfway = (self.low_ms + self.high_ms) // 2
        return max(self.low_ms + 1, halfway if round_number % 2 else self.guess_ms)

    def narrow(self, asked_ms: int, found: tuple[int, int] | None) -> None:
        if found is None or found[0] > self.target:
            self.high_ms = max(self.low_ms, asked_ms)
            self.high = found[0] if found else self.high
        else:
            self.low, self.low_ms = found


async def ages(
    unread: Mapping[TopicPartition, tuple[int, int]], now_ms: int, ask: AskByTime
) -> dict[TopicPartition, float]:
    """Seconds since the oldest unread message of each partition was written.

    `unread` gives the oldest unread offset and the end of partitions that have unread messages. Times are
    bracketed by asking for offsets by time, at most nine requests per broker, then interpolated.
    """
    first = await ask(dict.fromkeys(unread, 0))
    brackets: dict[TopicPartition, _Bracket] = {}
    for where, (target, end) in unread.items():
        if found := first.get(where):
            offset, low_ms = found
            brackets[where] = _Bracket(max(target, offset), low_ms, offset, max(now_ms, low_ms), end)
    for round_number in range(_ROUNDS):
        probes = {
            where: bracket.probe_ms(round_number)
            for where, bracket in brackets.items()
            if not bracket.is_close
        }
        if not probes:
            break
        for where, found in (await ask(probes)).items():
            brackets[where].narrow(probes[where], found)
    return {where: max(0.0, (now_ms - bracket.guess_ms) / 1000) for where, bracket in brackets.items()}
