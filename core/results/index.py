"""The local results index: records by project and path, sorted, summed up and searched."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from core.database import Database
from core.errors import UsageError
from core.events.request import IndexRequest
from core.results import queries, tables
from core.results.base import BatchResult, Overtaken
from core.results.records import IndexedFile, ProjectSummary, ProjectTotals, SearchHit, StoredRecord

T = TypeVar("T")
_PAGE = 500


class ResultsIndex:
    """The records in the SQLite file `path`; a `ResultSink`. Several processes may write one file.

    The newest request decides what stands for a path (`RequestPosition.is_older_than`). Writing a batch
    again changes nothing.
    """

    def __init__(self, path: Path) -> None:
        self._reader = Database(path, tables.SCHEMA)
        self._writer = Database(path, tables.SCHEMA)
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._writer)
            await stack.enter_async_context(self._reader)
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._open.aclose()

    async def overtaken(self, request: IndexRequest, paths: Collection[str]) -> Collection[str]:
        """Those of `paths` of which a newer request has spoken."""
        order = tables.Order.of(request.position, request.timestamp)
        ask = partial(tables.overtaken, project=request.project_name, paths=paths, order=order)
        return await self._reader.read(ask)

    async def write(self, result: BatchResult) -> Overtaken:
        """Apply a request's deletions and records in one transaction, durable on return."""
        return await self._writer.write(partial(_apply, result=result))

    async def query(
        self,
        *,
        project: str | None = None,
        language: str | None = None,
        sort: str = "path",
        limit: int | None = None,
    ) -> AsyncIterator[IndexedFile]:
        """Files with their figures, streamed. `sort` is path, complexity, quality (worst first) or size.

        Raises `UsageError` for another sort.
        """
        async for file in self._pages(queries.files, project, language, sort, limit):
            yield file

    async def records(
        self,
        *,
        project: str | None = None,
        language: str | None = None,
        sort: str = "path",
        limit: int | None = None,
    ) -> AsyncIterator[StoredRecord]:
        """As `query`, with the analyses."""
        async for record in self._pages(queries.records, project, language, sort, limit):
            yield record

    async def record(self, project: str, path: str) -> StoredRecord | None:
        """The record of one path."""
        return await self._reader.read(partial(queries.record, project=project, path=path))

    async def search(self, words: str, *, project: str | None = None, limit: int = 50) -> Sequence[SearchHit]:
        """Files in whose path or symbol names every one of `words` begins a word, paths first.

        Any text is a legal search; one without a letter or digit finds nothing.
        """
        return await self._reader.read(partial(queries.search, query=words, project=project, limit=limit))

    async def projects(self) -> Sequence[ProjectTotals]:
        """Every project that has records, by name."""
        return await self._reader.read(queries.projects)

    async def summary(self, project: str, *, functions: int = 5) -> ProjectSummary:
        """A project at a glance; empty for one that is not known."""
        return await self._reader.read(partial(queries.summary, project=project, functions=functions))

    async def _pages(
        self,
        page: Callable[..., Sequence[T]],
        project: str | None,
        language: str | None,
        sort: str,
        limit: int | None,
    ) -> AsyncIterator[T]:
        """The ids first, then their rows by pages: a slow reader holds no snapshot of the file open."""
        if sort not in queries.SORTS:
            raise UsageError(f"there is no order {sort}", hint=f"choose one of {', '.join(queries.SORTS)}")
        ids = await self._reader.read(
            partial(queries.ids, project=project, language=language, sort=sort, limit=limit)
        )
        for at in range(0, len(ids), _PAGE):
            for item in await self._reader.read(partial(page, chosen=ids[at : at + _PAGE])):
                yield item


def _apply(connection: sqlite3.Connection, result: BatchResult) -> Overtaken:
    request = result.request
    order = tables.Order.of(request.position, request.timestamp)
    deletions = tables.delete(connection, request.project_name, result.deleted, order)
    return Overtaken(tables.put(connection, result.records, order), deletions)
