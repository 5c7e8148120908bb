"""A million rows, filtered and sorted without ever holding the keyboard up.

Work is done in slices of a few milliseconds, and the newest request wins. Knows nothing of a screen.
"""

from __future__ import annotations

import asyncio
import random
import time
from array import array
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Key = Callable[[T], Any]
Pause = Callable[[], Awaitable[None]]

SLICE_S = 0.006
# Rows between two looks at the clock, and the most that one uninterruptible sort may get.
STRIDE = 256
BUCKET = 8192


async def give_way() -> None:
    """Let everything else that is ready run first."""
    await asyncio.sleep(0)


class Rows(Generic[T]):
    """Rows, and the order in which those that match are shown. A sort key must be total over all rows."""

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter, pause: Pause = give_way) -> None:
        self.all: list[T] = []
        self.order: Sequence[int] = range(0)
        self._predicate: Callable[[T], bool] | None = None
        self._key: Key[T] | None = None
        self._reverse = False
        self._generation = 0
        self._arranging = False
        self._seen = 0
        self._clock = clock
        self._pause = pause

    def __len__(self) -> int:
        """How many are shown."""
        return len(self.order)

    def __getitem__(self, place: int) -> T:
        """The row shown at `place`."""
        return self.all[self.order[place]]

    @property
    def is_arranging(self) -> bool:
        return self._arranging

    @property
    def is_behind(self) -> bool:
        """Whether rows were added that only `arrange` can put in their place."""
        return self._seen < len(self.all) and not self._arranging

    def replace(self, rows: Iterable[T]) -> None:
        """Other rows altogether; call `arrange` next where there is a filter or a sort key."""
        self._generation += 1
        self.all = list(rows)
        self.order = self._everything() if self._is_plain else array("Q")
        self._seen = len(self.order)

    def extend(self, rows: Sequence[T]) -> None:
        """More rows. Shown at once, unless they are sorted: then `is_behind` until the next `arrange`."""
        start = len(self.all)
        self.all.extend(rows)
        if self._key or self._arranging or self._seen < start:
            return
        self._seen = len(self.all)
        if isinstance(self.order, array):
            test = self._predicate or bool
            self.order.extend(start + index for index, row in enumerate(rows) if test(row))
        else:
            self.order = self._everything()

    @property
    def _is_plain(self) -> bool:
        return self._predicate is None and self._key is None

    def _everything(self) -> range:
        return range(len(self.all))

    async def arrange(
        self, predicate: Callable[[T], bool] | None, key: Key[T] | None = None, *, reverse: bool = False
    ) -> bool:
        """Show the rows that `predicate` accepts, by `key`. False where a newer request took over."""
        self._generation += 1
        mine = self._generation
        self._predicate, self._key, self._reverse = predicate, key, reverse
        self._arranging = True
        try:
            order = await self._chosen(mine, predicate)
            seen = len(self.all) if predicate else len(order or ())
            if order is not None and key:
                order = await self._sorted(mine, order, key)
            if order is None:
                return False
            self.order, self._seen = order[::-1] if reverse else order, seen
            return True
        finally:
            if mine == self._generation:
                self._arranging = False

    async def again(self) -> bool:
        """Arrange by the same filter and key, with what was added since."""
        return await self.arrange(self._predicate, self._key, reverse=self._reverse)

    def place_of(self, index: int) -> int | None:
        """Where the row `all[index]` is shown; None when it is not."""
        try:
            return self.order.index(index)
        except ValueError:
            return None

    async def find(self, predicate: Callable[[T], bool], start: int, step: int) -> int | None:
        """The next place from `start` on in direction `step` whose row matches, going round once."""
        mine = self._generation
        count = len(self.order)
        turn = _Turn(self._clock, self._pause)
        for distance in range(1, count + 1):
            place = (start + step * distance) % count
            if predicate(self[place]):
                return place
            if distance % STRIDE == 0 and await turn.over() and mine != self._generation:
                return None
        return None

    async def _chosen(self, mine: int, predicate: Callable[[T], bool] | None) -> Sequence[int] | None:
        if predicate is None:
            return self._everything()
        chosen = array("Q")
        turn = _Turn(self._clock, self._pause)
        start = 0
        while start < len(self.all):
            rows = self.all[start : start + STRIDE]
            chosen.extend(start + index for index, row in enumerate(rows) if predicate(row))
            start += len(rows)
            if await turn.over() and mine != self._generation:
                return None
        return chosen

    async def _sorted(self, mine: int, order: Sequence[int], key: Key[T]) -> Sequence[int] | None:
        """A sample sort: no step is longer than sorting one bucket, and equal keys keep their order."""
        turn = _Turn(self._clock, self._pause)
        keys: list[Any] = []
        for start in range(0, len(order), STRIDE):
            keys.extend(key(self.all[index]) for index in order[start : start + STRIDE])
            if await turn.over() and mine != self._generation:
                return None
        pivots = _pivots(keys)
        buckets: list[list[int]] = [[] for _ in range(len(pivots) + 1)]
        for start in range(0, len(keys), STRIDE):
            for place in range(start, min(start + STRIDE, len(keys))):
                buckets[bisect_right(pivots, keys[place])].append(place)
            if await turn.over() and mine != self._generation:
                return None
        result = array("Q")
        for bucket in buckets:
            bucket.sort(key=keys.__getitem__)
            for start in range(0, len(bucket), BUCKET):
                result.extend(order[place] for place in bucket[start : start + BUCKET])
                if await turn.over() and mine != self._generation:
                    return None
            # Freed bit by bit: a million integers at once would be a pause of their own.
            bucket.clear()
        return result


class _Turn:
    """Gives way when a slice of time is used up."""

    def __init__(self, clock: Callable[[], float], pause: Pause) -> None:
        self._clock = clock
        self._pause = pause
        self._until = clock() + SLICE_S

    async def over(self) -> bool:
        """Whether it gave way."""
        if self._clock() < self._until:
            return False
        await self._pause()
        self._until = self._clock() + SLICE_S
        return True


def _pivots(keys: Sequence[Any]) -> list[Any]:
    """Distinct keys that cut the rows into buckets of about `BUCKET`."""
    count = len(keys) // BUCKET
    if not count:
        return []
    places = random.Random(0).sample(range(len(keys)), 16 * (count + 1))  # noqa: S311 - no secret
    sample = sorted(keys[place] for place in places)
    step = len(sample) / (count + 1)
    cuts = [sample[int(step * number)] for number in range(1, count + 1)]
    return [key for place, key in enumerate(cuts) if place == 0 or key != cuts[place - 1]]
