"""Packing files into events: greedy, by count and by encoded size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zlib import crc32

from core.events.common import ContentStrategy
from core.log.partitioner import partition_of
from core.repository.facts import FileFacts
from core.strategies.selector import Choice

BUCKETS = 256
"""A project's paths fall into so many buckets. The wire key names one, so its number must not change."""


def request_key(project: str, path: str) -> bytes:
    """The message key of a request for `path`: every request for it has the same key.

    Kafka puts equal keys into one partition, and there the requests of a path keep their order.
    """
    return f"{project}:{crc32(path.encode('utf-8', 'surrogatepass')) % BUCKETS:02x}".encode()


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file ready for the wire: its encoded form (None in a dry run), and what packing it again takes.

    `pack_s` is how long packing took, `wanted` the strategy that another stood in for,
    `scores` what a learned selector expected.
    """

    facts: FileFacts
    strategy: ContentStrategy
    encoded_size: int
    encoded: bytes | None
    checksum: str | None
    content: bytes | None
    others: Sequence[Choice]
    pack_s: float = 0.0
    wanted: ContentStrategy | None = None
    scores: tuple[tuple[ContentStrategy, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Files of one event. `encoded_bytes` counts the files' JSON and their commas."""

    files: tuple[PackedFile, ...]
    encoded_bytes: int

    @property
    def encoded(self) -> list[bytes]:
        """The files' JSON."""
        return [file.encoded for file in self.files if file.encoded is not None]

    @property
    def raw_bytes(self) -> int:
        return sum(file.facts.size for file in self.files)

    def halves(self) -> tuple[Batch, Batch]:
        """The batch as two, for a log that refused it as too large."""
        middle = len(self.files) // 2
        return Batch.of(self.files[:middle]), Batch.of(self.files[middle:])

    @classmethod
    def of(cls, files: Iterable[PackedFile]) -> Batch:
        whole = tuple(files)
        return cls(whole, sum(file.encoded_size + 1 for file in whole))


class BatchesByPartition:
    """Packs files into batches, one at a time per partition, so that a path always goes to the same one.

    Holds at most about `max_bytes` in all: then the largest batch goes although it is not full.
    """

    def __init__(self, project: str, partitions: int, max_files: int, max_bytes: int) -> None:
        self._project = project
        self._partitions = partitions
        self._max_bytes = max_bytes
        self._open = [BatchProcessor(max_files, max_bytes) for _ in range(partitions)]

    def add(self, file: PackedFile) -> list[Batch]:
        """Take a file; the batches that go because of it."""
        key = request_key(self._project, file.facts.path)
        full = self._open[partition_of(key, self._partitions)].add(file)
        batches = [full] if full else []
        while sum(each.held_bytes for each in self._open) > self._max_bytes:
            largest = max(self._open, key=lambda each: each.held_bytes)
            batches += filter(None, [largest.flush()])
        return batches

    def flush(self) -> list[Batch]:
        """What has gathered."""
        return [batch for each in self._open if (batch := each.flush())]


class BatchProcessor:
    """Packs files greedily into batches of at most `max_files` files and `max_bytes` encoded bytes.

    A file over `max_bytes` on its own is the caller's to keep out.
    """

    def __init__(self, max_files: int, max_bytes: int) -> None:
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._files: list[PackedFile] = []
        self._bytes = 0

    @property
    def held_bytes(self) -> int:
        """Encoded bytes that have gathered."""
        return self._bytes

    def add(self, file: PackedFile) -> Batch | None:
        """Take a file; the batch that is full because of it, if any."""
        size = file.encoded_size + 1
        full = self.flush() if self._files and self._bytes + size > self._max_bytes else None
        self._files.append(file)
        self._bytes += size
        if full is None and len(self._files) >= self._max_files:
            return self.flush()
        return full

    def flush(self) -> Batch | None:
        """What has gathered, or None."""
        batch = Batch(tuple(self._files), self._bytes) if self._files else None
        self._files, self._bytes = [], 0
        return batch
