"""The plan: for every file its strategy and the reason, before and exactly as it is published."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.events.codec import encode_file
from core.events.common import ContentStrategy
from core.manifest import Published
from core.repository.classify import classify, classify_unread
from core.repository.facts import Entry, FileFacts, Skip, SkipReason
from core.strategies.base import (
    Feasibility,
    PublishContext,
    PureStrategy,
    SourceFile,
    Strategy,
    refusals,
    wire_file,
)
from core.strategies.selector import Choice, Selector

# Files read per hop to a thread: a hop costs about 60 µs, a file about 80 µs.
CHUNK_FILES = 64
CHUNK_BYTES = 1 << 20
# Enough of a large file to tell its language, encoding and whether it is binary.
HEAD_BYTES = 8192
# A reference with its presigned URL; measured on S3 URLs with session tokens, rounded up.
REFERENCE_BYTES = 2048
# A file's fields around its path and content.
FIELDS_BYTES = 320


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


class KnownFiles(Protocol):
    """What was published before; the manifest implements it."""

    def published(self, entries: Sequence[Entry]) -> Sequence[Published | None]:
        """What was published of each entry's path. Also remembers that the paths still exist."""
        ...

    def hidden(self, path: str) -> None:
        """Note that a path, and what lies below it, may exist although this run cannot see it."""
        ...

    def verified(self, entry: Entry) -> None:
        """The file was read and is as published."""
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
        self._pure = {each.name: each for each in strategies if isinstance(each, PureStrategy)}
        self._selector = selector
        self._rules = rules
        self._known = known

    @property
    def strategies(self) -> Collection[ContentStrategy]:
        """The strategies it chooses from."""
        return self._strategies.keys()

    @property
    def selector(self) -> Selector:
        """What chooses among the feasible strategies."""
        return self._selector

    async def stream(self) -> AsyncIterator[list[PlanItem]]:
        """Plan items in path order, in chunks; the next chunk is read while this one is used."""
        chunks = _chunks(self._context.repository.entries())
        planning = asyncio.ensure_future(asyncio.to_thread(self._plan_next, chunks))
        try:
            while (planned := await planning) is not None:
                planning = asyncio.ensure_future(asyncio.to_thread(self._plan_next, chunks))
                yield planned
        finally:
            # A thread cannot be cancelled: let it end before the repository is closed under it.
            await asyncio.wait([planning])

    def verdicts(self, facts: FileFacts) -> dict[ContentStrategy, Feasibility]:
        """Every configured strategy's verdict on a file."""
        return {name: strategy.feasible(facts, self._context) for name, strategy in self._strategies.items()}

    def ruled(self, facts: FileFacts) -> ContentStrategy | None:
        """What the rules choose for a file."""
        wanted = self._rules.overrides.get(facts.path, self._rules.wanted)
        choices = self._selector.rules.rank(facts, self.verdicts(facts), wanted)
        return choices[0].strategy if choices else None

    def reconsider(
        self, facts: FileFacts, *, encoded_size: int | None = None, unchanged: bool = False
    ) -> PlannedFile | Skip:
        """The choice for a file that was planned under other rules, its bytes no longer at hand.

        `encoded_size` is that of its pure form where that plan knew it; else it is estimated. What the
        publisher does is always decided with the bytes.
        """
        verdicts = self.verdicts(facts)
        wanted = self._rules.overrides.get(facts.path, self._rules.wanted)
        choices = self._selector.rank(facts, verdicts, wanted)
        if not choices:
            return _skip(facts, SkipReason.TOO_LARGE, verdicts)
        if choices[0].strategy in self._pure:
            size = _estimated(facts) if encoded_size is None else encoded_size
        else:
            size = REFERENCE_BYTES + len(facts.path)
        return PlannedFile(facts, choices, size, None, None, unchanged)

    def _plan_next(self, chunks: Iterator[list[Entry | Skip]]) -> list[PlanItem] | None:
        chunk = next(chunks, None)
        if chunk is None:
            return None
        published = iter(self._published(chunk))
        return [item if isinstance(item, Skip) else self._plan(item, next(published)) for item in chunk]

    def _published(self, chunk: list[Entry | Skip]) -> Sequence[Published | None]:
        """What the manifest knows of each entry of the chunk."""
        entries = [item for item in chunk if isinstance(item, Entry)]
        if self._known is None:
            return [None] * len(entries)
        for item in chunk:
            if isinstance(item, Skip) and item.reason.hides:
                self._known.hidden(item.path)
        known = self._known.published(entries)
        return [None] * len(entries) if self._rules.force else known

    def _plan(self, entry: Entry, before: Published | None) -> PlanItem:
        unchanged = before is not None and entry.version is not None and before.version == entry.version
        if unchanged and not self._rules.show_unchanged:
            return Unchanged(entry)
        if entry.unread:
            return self._plan_unread(entry, unchanged)
        whole = entry.size <= self._rules.whole_limit
        content = self._context.repository.read(entry, self._rules.whole_limit if whole else HEAD_BYTES)
        if isinstance(content, Skip):
            return content
        checksum = f"sha256:{hashlib.sha256(content).hexdigest()}" if whole else None
        if self._known and before and checksum and before.checksum == checksum:
            self._known.verified(entry)
            if not self._rules.show_unchanged:
                return Unchanged(entry)
            unchanged = True
        facts = classify(entry, content, complete=whole, checksum=checksum)
        if isinstance(facts, Skip):
            return facts
        if facts.is_test and not self._rules.include_tests:
            return Skip(entry.path, SkipReason.TEST_EXCLUDED)
        return self._choose(facts, content if whole else None, unchanged)

    def _plan_unread(self, entry: Entry, unchanged: bool) -> PlannedFile | Skip:
        facts = classify_unread(entry)
        if facts.is_test and not self._rules.include_tests:
            return Skip(entry.path, SkipReason.TEST_EXCLUDED)
        return self._choose(facts, None, unchanged)

    def _choose(self, facts: FileFacts, content: bytes | None, unchanged: bool) -> PlannedFile | Skip:
        verdicts = self.verdicts(facts)
        wanted = self._rules.overrides.get(facts.path, self._rules.wanted)
        choices = self._selector.rank(facts, verdicts, wanted)
        while choices:
            strategy = self._pure.get(choices[0].strategy)
            if strategy is None:
                size = REFERENCE_BYTES + len(facts.path)
                return PlannedFile(facts, choices, size, None, content, unchanged)
            fields = strategy.pack_now(SourceFile(facts, content))
            encoded = encode_file(wire_file(facts, strategy.name, fields))
            if len(encoded) <= self._context.max_file_bytes:
                return PlannedFile(facts, choices, len(encoded), encoded, content, unchanged)
            over = f"{len(encoded):,} B encoded > {self._context.max_file_bytes:,} B in a message"
            verdicts[strategy.name] = Feasibility(False, over)
            choices = self._selector.rank(facts, verdicts, wanted)
        reason = SkipReason.INFEASIBLE if facts.entry.unread else SkipReason.TOO_LARGE
        return _skip(facts, reason, verdicts)


def _estimated(facts: FileFacts) -> int:
    """Bytes of a file's pure form: base64 of binary, escaped text (1.06 times its size on Python source)."""
    content = facts.size * 4 // 3 if facts.is_binary else facts.size * 53 // 50
    return FIELDS_BYTES + len(facts.path) + content


def _skip(facts: FileFacts, reason: SkipReason, verdicts: Mapping[ContentStrategy, Feasibility]) -> Skip:
    temporary = any(verdict.temporary for verdict in verdicts.values())
    return Skip(facts.path, reason, refusals(verdicts), facts, temporary)


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
