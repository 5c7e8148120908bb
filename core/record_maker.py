"""From the files of a request to their records, in groups whose contents fit the memory that is allowed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from core.budget import Budget
from core.durable_steps import unwell_disk
from core.errors import AgentUnwell, AnalysisFailed, ArchonError, CredentialsRefused, Unexpected
from core.events.intelligence import FileIdentity
from core.events.record import Analysis, FileRecord
from core.events.request import IndexRequest, RequestedFile
from core.fetchers.base import HEAD_BYTES, HELD_LIMIT, HELD_UNTOLD
from core.fetchers.resolver import Resolved, Resolver, Unresolved
from core.intelligence.base import FileToAnalyze
from core.outcome_events import BatchOutcome
from core.repository.languages import language_of
from core.safety.display import display

logger = logging.getLogger(__name__)

WORD_LIMIT = 100
"""Characters of a language's name; a record repeats it several times."""

Item = TypeVar("Item")
Answer = tuple[int, FileRecord | ArchonError]


class Analyzer(Protocol):
    """Makes analyses; `core.intelligence.pool` implements it."""

    async def analyze_many(self, files: Sequence[FileToAnalyze]) -> Sequence[Analysis | AnalysisFailed]: ...


class RecordMaker:
    """Resolves and analyses files.

    `held_bytes` bounds the contents held at once by all requests, `held_files` the files at work at once.
    """

    def __init__(
        self, resolver: Resolver, analyzer: Analyzer, *, held_bytes: int = 64 << 20, held_files: int = 512
    ) -> None:
        self._resolver = resolver
        self._analyzer = analyzer
        self._held_bytes = held_bytes
        self._held_files = held_files
        self._budget = Budget(held_bytes)
        self._files = Budget(held_files)

    async def make(
        self, request: IndexRequest, wanted: Sequence[tuple[int, RequestedFile]], outcome: BatchOutcome
    ) -> tuple[dict[int, FileRecord], dict[int, ArchonError]]:
        """A record or an error for each of `wanted`, by its index in the request.

        Counts sources and fallbacks in `outcome`. Raises `AgentUnwell` where this agent cannot do its part.
        """
        records: dict[int, FileRecord] = {}
        failures: dict[int, ArchonError] = {}
        for group in _groups(wanted, self._held_bytes // 4, _held, most=self._held_files):
            for index, answer in await self._try_group(request, group, outcome):
                if isinstance(answer, ArchonError):
                    failures[index] = answer
                else:
                    records[index] = answer
        return records, failures

    async def _try_group(
        self, request: IndexRequest, group: Sequence[tuple[int, RequestedFile]], outcome: BatchOutcome
    ) -> list[Answer]:
        """As `_make_group`; a fault of ours costs these files, and must not come again with the message."""
        try:
            return await self._make_group(request, group, outcome)
        except ArchonError:
            raise
        except OSError as error:  # a full or failing disk is nobody's file
            raise unwell_disk(error) from error
        except Exception as error:
            logger.exception("processing %d files of %s failed", len(group), display(request.project_name))
            return [(index, Unexpected(f"{type(error).__name__}; see the agent's log")) for index, _ in group]

    async def _make_group(
        self, request: IndexRequest, group: Sequence[tuple[int, RequestedFile]], outcome: BatchOutcome
    ) -> list[Answer]:
        """A record or an error for each file of a group, whose contents are held meanwhile.

        What the fetchers did not keep is loaded in parts when it is its turn.
        """
        untold = any(file.size_bytes is None for _, file in group)
        size = sum(map(_held, group)) + (HELD_UNTOLD if untold else 0)
        async with self._files.holding(len(group)), self._budget.holding(size):
            found = await self._resolver.resolve(request, [file for _, file in group])
            _raise_if_unwell(found)
            answers: list[Answer] = []
            resolved: list[tuple[int, Resolved]] = []
            for (index, _), answer in zip(group, found, strict=True):
                if isinstance(answer, Resolved):
                    resolved.append((index, answer))
                else:
                    answers.append((index, answer.error))
            answers += await self._analyze(request, [got for got in resolved if not got[1].let_go], outcome)
        later = [got for got in resolved if got[1].let_go]
        del found, resolved
        for part in _groups(later, HELD_UNTOLD, lambda item: item[1].size, most=self._held_files):
            size = sum(got.size for _, got in part)
            async with self._files.holding(len(part)), self._budget.holding(size):
                answers += await self._make_later(request, part, outcome)
        return answers

    async def _make_later(
        self, request: IndexRequest, part: Sequence[tuple[int, Resolved]], outcome: BatchOutcome
    ) -> list[Answer]:
        answers: list[Answer] = []
        loaded: list[tuple[int, Resolved]] = []
        for index, got in part:
            assert got.let_go  # noqa: S101 - that is what parts are made of
            try:
                loaded.append((index, replace(got, content=await got.let_go.load())))
            except ArchonError as error:
                answers.append((index, error))
        return answers + await self._analyze(request, loaded, outcome)

    async def _analyze(
        self, request: IndexRequest, resolved: Sequence[tuple[int, Resolved]], outcome: BatchOutcome
    ) -> list[Answer]:
        answers: list[Answer] = []
        analyses = await self._analyzer.analyze_many([_to_analyze(got) for _, got in resolved])
        now = datetime.now(UTC)
        for (index, got), analysis in zip(resolved, analyses, strict=True):
            if isinstance(analysis, AnalysisFailed):
                answers.append((index, analysis))
                continue
            outcome.by_source[got.source] += 1
            if got.fallback:
                outcome.fallbacks[got.fallback] += 1
            answers.append((index, _record(request, got, analysis, now)))
        return answers


def _raise_if_unwell(found: Sequence[Resolved | Unresolved]) -> None:
    """Raise `AgentUnwell` where a file failed for a fault of ours and not of its event."""
    for answer in found:
        if isinstance(answer, Unresolved) and isinstance(answer.error, CredentialsRefused):
            raise AgentUnwell(str(answer.error), hint=answer.error.hint)


def _held(item: tuple[int, RequestedFile]) -> int:
    """Bytes that a file's content takes while it is analysed, as far as the event tells."""
    size = item[1].size_bytes or 0
    return size if size <= HELD_LIMIT else HEAD_BYTES


def _groups(
    items: Sequence[Item], limit: int, size_of: Callable[[Item], int], *, most: int
) -> Iterator[list[Item]]:
    """The items in order, in groups of at most `most` items and `limit` bytes held, or of one item."""
    group: list[Item] = []
    held = 0
    for item in items:
        size = size_of(item)
        if group and (held + size > limit or len(group) == most):
            yield group
            group, held = [], 0
        group.append(item)
        held += size
    if group:
        yield group


def _to_analyze(got: Resolved) -> FileToAnalyze:
    return FileToAnalyze(got.file.relative_path, got.content, _language(got), got.size)


def _language(got: Resolved) -> str | None:
    """The language that the event names, where it is a plausible name; v1 events name none."""
    word = got.file.language
    return word if word and len(word) <= WORD_LIMIT else language_of(got.file.relative_path, got.content)


def _record(request: IndexRequest, got: Resolved, analysis: Analysis, now: datetime) -> FileRecord:
    identity = FileIdentity(
        project=request.project_name,
        path=got.file.relative_path,
        checksum=got.checksum,
        checksum_verified=got.verified,
        size_bytes=got.size,
        content_source=got.source.value,
        correlation_id=request.correlation_id,
        generated_at=now,
        delivery=got.delivery,
        request=request.position,
    )
    return FileRecord(identity, analysis)
