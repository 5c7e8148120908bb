"""Packing files into events: greedy, by count and by encoded size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.events.common import ContentStrategy
from core.repository.facts import FileFacts
from core.strategies.selector import Choice


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


class BatchProcessor:
    """Packs files greedily into batches of at most `max_files` files and `max_bytes` encoded bytes.

    A file over `max_bytes` on its own is the caller's to keep out.
    """

    def __init__(self, max_files: int, max_bytes: int) -> None:
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._files: list[PackedFile] = []
        self._bytes = 0

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
