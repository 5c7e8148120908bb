"""Which offsets may be committed while messages finish out of order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heappop, heappush

from core.log.base import TopicPartition


class OffsetTracker:
    """Tracks the contiguous low-water mark of every partition.

    The mark is the lowest offset begun and not finished, or one past the highest begun: everything
    below it is done. Offsets that were never delivered (compacted, aborted, deleted) hold nothing up.
    """

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, _Partition] = {}

    def begin(self, where: TopicPartition, offset: int) -> None:
        """Work on a message starts; it holds the mark until `finish`."""
        partition = self._partitions.get(where)
        if partition is None:
            partition = self._partitions[where] = _Partition(offset)
        partition.begin(offset)

    def reach(self, where: TopicPartition, position: int) -> None:
        """The next message of a partition has at least the offset `position`: what is below holds nothing."""
        if (partition := self._partitions.get(where)) is None:
            partition = self._partitions[where] = _Partition(position)
            partition.committed = 0
        partition.reach(position)

    def finish(self, where: TopicPartition, offset: int) -> None:
        """The message's results are durable; ignored when the partition was dropped meanwhile."""
        if (partition := self._partitions.get(where)) is not None:
            partition.finish(offset)

    def committable(self) -> dict[TopicPartition, int]:
        """The next offset to read of each partition whose mark moved since it was `committed`."""
        return {
            where: partition.mark
            for where, partition in self._partitions.items()
            if partition.mark > partition.committed
        }

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The log made `offsets`, as `committable` gave them, durable."""
        for where, offset in offsets.items():
            if (partition := self._partitions.get(where)) is not None:
                partition.committed = max(partition.committed, offset)

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that were revoked or sought; what is in flight there no longer counts."""
        for where in partitions:
            self._partitions.pop(where, None)

    def in_flight(self, where: TopicPartition | None = None) -> int:
        """Messages begun and not finished, of one partition or of all."""
        chosen = self._partitions.values() if where is None else filter(None, [self._partitions.get(where)])
        return sum(len(partition.unfinished) for partition in chosen)


class _Partition:
    """One partition; `_lowest` is a heap that finished offsets leave once they reach its top."""

    __slots__ = ("_lowest", "_next", "committed", "unfinished")

    def __init__(self, first: int) -> None:
        self.committed = first
        self.unfinished: set[int] = set()
        self._lowest: list[int] = []
        self._next = first

    @property
    def mark(self) -> int:
        return self._lowest[0] if self._lowest else self._next

    def reach(self, position: int) -> None:
        self._next = max(self._next, position)

    def begin(self, offset: int) -> None:
        if offset not in self.unfinished:
            self.unfinished.add(offset)
            heappush(self._lowest, offset)
            self._next = max(self._next, offset + 1)

    def finish(self, offset: int) -> None:
        self.unfinished.discard(offset)
        while self._lowest and self._lowest[0] not in self.unfinished:
            heappop(self._lowest)
