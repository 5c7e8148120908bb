"""A file of the plan made ready for the wire, by the first strategy that carries it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from core.batches import PackedFile
from core.breaker import Breakers
from core.errors import ArchonError, BackendUnavailable, ContentChanged, MessageTooLarge, RetryableError
from core.events.codec import encode_file
from core.events.common import ContentStrategy
from core.fallbacks import PUBLISHER, fallback
from core.planner import PlannedFile
from core.progress import FallbackUsed, FileSkipped, FilesPacked, Listener, ignore
from core.repository.facts import FileFacts, Skip, SkipReason
from core.safety.redact import redact
from core.strategies.base import NO_STORAGE, PublishContext, PureStrategy, SourceFile, Strategy, wire_file
from core.strategies.selector import Choice
from core.summary import IngestSummary

logger = logging.getLogger(__name__)

PACKS_IN_FLIGHT = 16


class Packer:
    """Packs the files of one run; what it skips and what stood in for what goes to `summary`."""

    def __init__(
        self,
        strategies: Sequence[Strategy],
        context: PublishContext,
        summary: IngestSummary,
        breakers: Breakers,
        listener: Listener = ignore,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._strategies = {strategy.name: strategy for strategy in strategies}
        self._context = context
        self._summary = summary
        self._breakers = breakers
        self._tell = listener
        self._clock = clock
        self._unprepared: dict[ContentStrategy, ArchonError] = {}

    async def prepare(self) -> dict[str, Any]:
        """The payload's fields that the strategies share by all files.

        A strategy whose backend cannot be reached now is not used. Raises `ConfigurationError`.
        """
        payload: dict[str, Any] = {}
        for strategy in self._strategies.values():
            try:
                payload |= await strategy.prepare(self._context)
            except RetryableError as error:
                self._unprepared[strategy.name] = error
        return payload

    async def pack_all(self, planned: Sequence[PlannedFile]) -> list[PackedFile]:
        """Pack a chunk; what touches a backend runs side by side."""
        limit = asyncio.Semaphore(PACKS_IN_FLIGHT)

        async def one(item: PlannedFile) -> PackedFile | None:
            async with limit:
                return await self.pack(item.facts, item.content, item.choices)

        slow = [asyncio.create_task(one(item)) for item in planned if item.encoded is None]
        ready = [
            PackedFile(
                item.facts,
                item.strategy,
                item.encoded_size,
                item.encoded,
                item.facts.checksum,
                item.content,
                item.choices[1:],
                scores=item.choices[0].scores,
            )
            for item in planned
            if item.encoded is not None
        ]
        for strategy in {file.strategy for file in ready}:
            share = [file.facts.size for file in ready if file.strategy is strategy]
            self._tell(FilesPacked(strategy, len(share), sum(share), 0.0))
        try:
            return ready + [packed for task in slow if (packed := await task) is not None]
        finally:
            for task in slow:
                task.cancel()

    async def pack(
        self, facts: FileFacts, content: bytes | None, choices: Sequence[Choice]
    ) -> PackedFile | None:
        """Pack by the first choice that works; a file none can carry is skipped with every reason."""
        refusals: list[str] = []
        failed = False
        unreachable: BackendUnavailable | None = None
        choices = in_table_order(choices)
        for index, choice in enumerate(choices):
            started = self._clock()
            try:
                fields = await self._fields(choice.strategy, SourceFile(facts, content))
            except ContentChanged as error:
                self.skip(Skip(facts.path, SkipReason.CHANGED_WHILE_READ, str(error)))
                return None
            except ArchonError as error:
                refusals.append(f"{choice.strategy}: {error}")
                failed = True
                unreachable = unreachable or (error if isinstance(error, BackendUnavailable) else None)
                following = choices[index + 1].strategy if index + 1 < len(choices) else "skip"
                self.fall_back(choice.strategy, following, error.reason, str(error))
                continue
            file = wire_file(facts, choice.strategy, fields)
            encoded = encode_file(file)
            if len(encoded) > self._context.max_file_bytes:
                refusals.append(f"{choice.strategy}: {len(encoded):,} B encoded")
                continue
            seconds = self._clock() - started
            self._tell(FilesPacked(choice.strategy, 1, facts.size, seconds))
            return PackedFile(
                facts,
                choice.strategy,
                len(encoded),
                encoded,
                file["checksum"],
                content,
                choices[index + 1 :],
                seconds,
                choices[0].strategy if index else None,
                choices[0].scores,
            )
        skip = self._skip_of(facts, SkipReason.INFEASIBLE, refusals, choices)
        self.skip(replace(skip, temporary=failed or skip.temporary))
        self._summary.unreachable = self._summary.unreachable or unreachable
        return None

    async def upgrade(self, file: PackedFile, error: MessageTooLarge) -> PackedFile | None:
        """`file`, which the log refused for its size, by another strategy; None where it is skipped."""
        others = in_table_order(file.others, file.strategy)
        following = others[0].strategy if others else "skip"
        self.fall_back(file.strategy, following, error.reason, str(error))
        if others:
            return await self.pack(file.facts, file.content, others)
        tried, refusals = [Choice(file.strategy, "")], [f"{file.strategy}: {error}"]
        self.skip(self._skip_of(file.facts, SkipReason.TOO_LARGE, refusals, tried))
        return None

    def fall_back(self, wanted: str, used: str, cause: str, message: str) -> None:
        """Count what stood in for what; the first of a kind is logged."""
        name = fallback(wanted, used, cause)
        if name not in self._summary.fallbacks:
            logger.warning("fallback %s: %s", name, redact(message))
        self._summary.fallbacks[name] += 1
        self._tell(FallbackUsed("publisher", wanted, used, cause))

    def skip(self, skip: Skip) -> None:
        """The file ends here."""
        self._summary.skipped.append(skip)
        self._tell(FileSkipped(skip.path, skip.reason, skip.detail, skip.reason.is_fault))

    def _skip_of(
        self, facts: FileFacts, reason: SkipReason, refusals: Sequence[str], tried: Sequence[Choice]
    ) -> Skip:
        """The skip of a file that every strategy that was `tried` failed; the others say why they cannot."""
        names = {choice.strategy for choice in tried}
        verdicts = {
            name: strategy.feasible(facts, self._context)
            for name, strategy in self._strategies.items()
            if name not in names
        }
        others = [f"{name}: {verdict.why}" for name, verdict in verdicts.items() if not verdict.feasible]
        if ContentStrategy.OBJECT_STORAGE not in self._strategies:
            others.append(NO_STORAGE)
        temporary = any(verdict.temporary for verdict in verdicts.values())
        return Skip(facts.path, reason, "; ".join([*refusals, *others]), temporary=temporary)

    async def _fields(self, name: ContentStrategy, file: SourceFile) -> dict[str, Any]:
        """A file's wire fields. Raises what the strategy raises, or `CircuitOpen`."""
        strategy = self._strategies[name]
        if isinstance(strategy, PureStrategy):
            return await strategy.pack(file, self._context)
        if name in self._unprepared:
            raise self._unprepared[name]
        breaker = self._breakers.of(name)
        if not breaker.admit():
            raise breaker.refusal()
        try:
            fields = await strategy.pack(file, self._context)
        except ArchonError as error:
            breaker.record(error)
            raise
        breaker.record(None)
        return fields


def in_table_order(choices: Sequence[Choice], failed: ContentStrategy | None = None) -> list[Choice]:
    """The first choice and its stand-ins as `core.fallbacks` orders them; without it where it `failed`."""
    kept = list(choices[:1]) if failed is None else []
    first = failed or (kept[0].strategy if kept else None)
    feasible = {choice.strategy: choice for choice in choices}
    order = PUBLISHER[first].order if first else ()
    return kept + [feasible[name] for name in order if name in feasible]
