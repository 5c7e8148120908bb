"""The plan: for every file its strategy and the reason, before and exactly as it is published."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from core.events.codec import encode_file
from core.events.common import ContentStrategy
from core.repository.classify import classify
from core.repository.facts import Entry, FileFacts, Skip, SkipReason
from core.strategies.base import Feasibility, PublishContext, SourceFile, Strategy, wire_file
from core.strategies.selector import Choice, Selector

# Files read per hop to a thread: a hop costs about 60 µs, a file about 80 µs.
CHUNK_FILES = 64
CHUNK_BYTES = 1 << 20
# Enough of a large file to tell its language, encoding and whether it is binary.
HEAD_BYTES = 8192
# A reference with its presigned URL; measured on S3 URLs with session tokens, rounded up.
REFERENCE_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A file that the manifest proves published already."""

    entry: Entry


@dataclass(slots=True)
class PlannedFile:
    """A file with its choices, best first.

    `encoded` is its wire form where the chosen strategy is pure, else None and `encoded_size` is an
    estimate. `content` is whole, or None for a file over the inline limit. `unchanged` files are planned
    only where the rules ask for every file.
    """

    facts: FileFacts
    choices: Sequence[Choice]
    encoded_size: int
    encoded: bytes | None
    content: bytes | None
    unchanged: bool = False

    @property
    def strategy(self) -> ContentStrategy:
        return self.choices[0].strategy

    @property
    def why(self) -> str:
        return self.choices[0].why


PlanItem = PlannedFile | Skip | Unchanged


class _Read(NamedTuple):
    facts: FileFacts
    content: bytes | None
    unchanged: bool


class KnownFiles(Protocol):
    """What was published before; the manifest implements it."""

    def unchanged(self, entries: Sequence[Entry]) -> Sequence[bool]:
        """Per entry: proven unchanged without reading it. Also remembers that the paths still exist."""
        ...

    def met(self, path: str) -> None:
        """Note that a path exists although it is not published now."""
        ...

    def same_content(self, entry: Entry, checksum: str) -> bool:
        """Whether the file was published with this checksum."""
        ...


@dataclass(frozen=True, slots=True)
class PlanRules:
    """What the user chose. `whole_limit` is how large a file may be to be held in memory, in bytes.

    `force` publishes unchanged files too; `show_unchanged` plans them, marked, to be shown.
    """

    whole_limit: int
    wanted: ContentStrategy | None = None
    include_tests: bool = True
    force: bool = False
    show_unchanged: bool = False
    overrides: Mapping[str, ContentStrategy] = field(default_factory=dict)


class Planner:
    """Streams a repository's files as plan items; memory does not grow with the repository."""

    def __init__(
        self,
        context: PublishContext,
        strategies: Sequence[Strategy],
        selector: Selector,
        rules: PlanRules,
        known: KnownFiles | None = None,
    ) -> None:
        self._context = context
        self._strategies = {strategy.name: strategy for strategy in strategies}
        self._selector = selector
        self._rules = rules
        self._known = known

    async def stream(self) -> AsyncIterator[list[PlanItem]]:
        """Plan items in path order, in chunks; the next chunk is read while this one is used."""
        chunks = _chunks(self._context.repository.entries())
        reading = asyncio.ensure_future(asyncio.to_thread(self._read_next, chunks))
        try:
            while (read := await reading) is not None:
                reading = asyncio.ensure_future(asyncio.to_thread(self._read_next, chunks))
                yield [await self._choose(item) if isinstance(item, _Read) else item for item in read]
        finally:
            # A thread cannot be cancelled: let it end before the repository is closed under it.
            await asyncio.wait([reading])

    def verdicts(self, facts: FileFacts) -> dict[ContentStrategy, Feasibility]:
        """Every configured strategy's verdict on a file."""
        return {name: strategy.feasible(facts, self._context) for name, strategy in self._strategies.items()}

    def _read_next(self, chunks: Iterator[list[Entry | Skip]]) -> list[_Read | Skip | Unchanged] | None:
        chunk = next(chunks, None)
        return None if chunk is None else [self._look(item, proven) for item, proven in self._compare(chunk)]

    def _compare(self, chunk: list[Entry | Skip]) -> Iterator[tuple[Entry | Skip, bool]]:
        """Each item, and whether the manifest proves it unchanged without reading."""
        if self._known is None:
            yield from ((item, False) for item in chunk)
            return
        proven = iter(self._known.unchanged([item for item in chunk if isinstance(item, Entry)]))
        for item in chunk:
            if isinstance(item, Entry):
                yield item, next(proven) and not self._rules.force
            else:
                if item.reason.is_fault:
                    self._known.met(item.path)
                yield item, False

    def _look(self, item: Entry | Skip, proven: bool) -> _Read | Skip | Unchanged:
        if isinstance(item, Skip):
            return item
        if proven and not self._rules.show_unchanged:
            return Unchanged(item)
        return self._read(item, proven)

    def _read(self, entry: Entry, unchanged: bool) -> _Read | Skip | Unchanged:
        whole = entry.size <= self._rules.whole_limit
        content = self._context.repository.read(entry, self._rules.whole_limit if whole else HEAD_BYTES)
        if isinstance(content, Skip):
            return content
        checksum = f"sha256:{hashlib.sha256(content).hexdigest()}" if whole else None
        if checksum and self._known and not self._rules.force and self._known.same_content(entry, checksum):
            if not self._rules.show_unchanged:
                return Unchanged(entry)
            unchanged = True
        facts = classify(entry, content, complete=whole, checksum=checksum)
        if isinstance(facts, Skip):
            return facts
        if facts.is_test and not self._rules.include_tests:
            return Skip(entry.path, SkipReason.TEST_EXCLUDED)
        return _Read(facts, content if whole else None, unchanged)

    async def _choose(self, read: _Read) -> PlanItem:
        facts, content, unchanged = read
        verdicts = self.verdicts(facts)
        wanted = self._rules.overrides.get(facts.path, self._rules.wanted)
        choices = self._selector.rank(facts, verdicts, wanted)
        while choices:
            strategy = self._strategies[choices[0].strategy]
            if not strategy.is_pure:
                size = REFERENCE_BYTES + len(facts.path)
                return PlannedFile(facts, choices, size, None, content, unchanged)
            fields = await strategy.pack(SourceFile(facts, content), self._context)
            encoded = encode_file(wire_file(facts, strategy.name, fields))
            if len(encoded) <= self._context.max_file_bytes:
                return PlannedFile(facts, choices, len(encoded), encoded, content, unchanged)
            over = f"{len(encoded):,} B encoded > {self._context.max_file_bytes:,} B in a message"
            verdicts[strategy.name] = Feasibility(False, over)
            choices = self._selector.rank(facts, verdicts, wanted)
        return Skip(facts.path, SkipReason.TOO_LARGE, _refusals(verdicts))


def _refusals(verdicts: Mapping[ContentStrategy, Feasibility]) -> str:
    return "; ".join(f"{name}: {verdict.why}" for name, verdict in verdicts.items())


def _chunks(items: Iterable[Entry | Skip]) -> Iterator[list[Entry | Skip]]:
    chunk: list[Entry | Skip] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += item.size if isinstance(item, Entry) else 0
        if len(chunk) >= CHUNK_FILES or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
