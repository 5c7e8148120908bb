"""Cache: what the caches of this machine and of every agent spare, and what they hold."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from archon_tui.background import in_background
from archon_tui.chosen import wrong_reference
from archon_tui.export import Export, table
from archon_tui.models.cache import (
    FIELDS,
    LISTED,
    CacheRow,
    Opened,
    Trends,
    detail,
    document,
    headline,
    hits_text,
    rows,
    size_text,
    trend_text,
)
from archon_tui.refresh import Reading, Source
from archon_tui.screens.dialogs import Ask, Field, Question
from archon_tui.screens.live import LivePage
from archon_tui.screens.page import bindings, state_line
from archon_tui.widgets.line_view import LineView
from archon_tui.widgets.painted import Line
from archon_tui.widgets.row_list import Column, RowList
from core import units
from core.cache.base import WAITING_EVENTS
from core.errors import ArchonError

if TYPE_CHECKING:
    from core.cache.base import Cache, Order
    from core.git.source import RepositoryToWarm, WarmedRepository
    from core.warming import WarmedEvents

TREND_CELLS = 12
COLUMNS: tuple[Column[CacheRow], ...] = (
    Column("type", "TYPE", 7, lambda row: (row.kind, row.style or "bold"), lambda row: row.kind),
    Column(
        "place",
        "WHERE",
        14,
        lambda row: (f"◌ stale {row.place}" if row.stale else row.place, row.style),
        lambda row: row.place,
        flex=1,
    ),
    Column(
        "hits",
        "HITS/LOOKUPS",
        15,
        lambda row: (hits_text(row), row.style),
        lambda row: row.lookups,
        right=True,
        descending=True,
    ),
    Column(
        "rate",
        "RATE",
        7,
        lambda row: (units.percent(row.hits, row.lookups), row.style),
        lambda row: -1.0 if row.rate is None else row.rate,
        right=True,
    ),
    Column(
        "size",
        "SIZE",
        19,
        lambda row: (size_text(row), row.style),
        lambda row: row.bytes,
        right=True,
        descending=True,
    ),
    Column("entries", "ENTRIES", 8, lambda row: (units.count(row.entries), row.style), right=True, drop=4),
    Column("evicted", "EVICTED", 8, lambda row: (units.count(row.evictions), row.style), right=True, drop=2),
    Column(
        "corrupt",
        "CORRUPT",
        7,
        lambda row: (units.count(row.corruptions), "fail" if row.corruptions else row.style),
        right=True,
        drop=1,
    ),
    Column(
        "trend", "HIT RATE NOW", TREND_CELLS, lambda row: (trend_text(row, TREND_CELLS), "accent"), drop=3
    ),
)
HELP = (
    "Hits over lookups: this machine counts since the directory was made, an agent since it started. The"
    " sparkline is the hit rate from look to look, blank where nothing was looked up. Enter shows misses by"
    " cause and the entries, t orders those by size or age. W on the Git cache of this machine fetches a"
    " repository into it, on the object cache what waiting events name. C empties a cache of this machine:"
    " all of it can be fetched again."
)


class CachePage(LivePage[CacheRow]):
    """Object and Git caches."""

    NAME = "cache"
    DETAIL = "cache"
    BINDINGS = bindings(NAME)

    def __init__(self) -> None:
        super().__init__()
        self._source: Source[dict[str, Opened]] = Source("the caches", self._ask, self.told, every_s=2.0)
        self._lock = threading.Lock()
        self._caches: dict[str, Cache] | None = None
        self._order: Order = "size"
        self._warming: str | None = None
        self._trends = Trends()

    def make_list(self) -> RowList[CacheRow]:
        return RowList(
            COLUMNS,
            FIELDS,
            id="caches",
            empty="no cache here",
            help_text=HELP,
            identity=lambda row: row.key,
        )

    def sources(self) -> list[Source[Any]]:
        return [self._source]

    async def _ask(self) -> dict[str, Opened]:
        return await asyncio.to_thread(self._look)

    def _look(self) -> dict[str, Opened]:
        """Figures and first entries. The caches stay open: opening reads their whole directory."""
        order = self._order
        with self._lock:
            if self._caches is None:
                from core.assembly.stores import open_caches

                self._caches = open_caches(self.session.settings)
            return {
                kind: Opened(cache.stats(), tuple(cache.entries(LISTED, order)), order)
                for kind, cache in self._caches.items()
            }

    def on_unmount(self) -> None:
        caches, self._caches = self._caches, None
        for cache in (caches or {}).values():
            cache.close()

    @property
    def reading(self) -> Reading[dict[str, Opened]]:
        return self._source.reading

    @property
    def is_stale(self) -> bool:
        return self.reading.error is not None

    def rows(self) -> Sequence[CacheRow]:
        caches, seen = self.reading, self.archon.log_reading
        fleet = seen.value.fleet if seen.value else ()
        return rows(caches.value or {}, caches.taken_at, fleet, self._trends)

    def headline(self) -> list[Line]:
        lines = headline(self._rows)
        if not self.session.settings.cache.max_bytes:
            lines.append([(" this machine keeps no object cache: --cache-max-size-gb turns it on", "dim")])
        if self._warming:
            lines.append([(" warming ", "accent"), (self._warming, "")])
        now = self.session.clock()
        troubles = [
            state_line(self.reading, now, "the caches"),
            state_line(self.archon.log_reading, now, "the agents"),
        ]
        return [*lines, *([(" ", ""), *trouble] for trouble in troubles if trouble)]

    def detail(self, row: CacheRow) -> list[Line]:
        return detail(row, self.query_one("#detail", LineView).size.width)

    def count_noun(self, count: int) -> str:
        return "caches" if count != 1 else "cache"

    def do_cache_by(self) -> None:
        self._order = "age" if self._order == "size" else "size"
        self.archon.coordinator.again()

    # Filling

    def why_not_cache_warm(self) -> str | None:
        row = self.list.current
        if self._warming is not None:
            return "it is at work"
        if row is not None and row.opened is None:
            return "it is an agent's: POST /api/cache/warm there"
        return None

    def question_cache_warm(self) -> Question | None:
        row = self.list.current
        if row is not None and row.kind == "git":
            return None  # the URL is asked for instead
        group = self.session.settings.log.group
        amount = f"at most {WAITING_EVENTS:,} events that {group} has not done"
        return Question(
            "Fetch what the waiting events name?",
            [
                [(f"Objects and Git files of {amount}.", "")],
                [("Nothing is consumed; what is here already is not fetched again.", "")],
            ],
            "fetch it",
        )

    def do_cache_warm(self) -> None:
        row = self.list.current
        if row is None or row.kind != "git":
            in_background(self, self._warm_waiting, group="warming")
            return

        def answered(texts: tuple[str, ...] | None) -> None:
            if texts:
                in_background(self, partial(self._warm_repository, *texts), group="warming")

        self.app.push_screen(
            Ask(
                Field("The URL of a Git repository to fetch", self._wrong_url),
                Field("Branch, tag or commit; empty for its default branch", wrong_ref, optional=True),
                Field(
                    "Where the secret for its Git host is: env:NAME or file:/path, never the secret",
                    wrong_reference,
                    optional=True,
                ),
            ),
            answered,
        )

    def _wrong_url(self, text: str) -> None:
        from core.safety.git_url import parse_git_url

        parse_git_url(text, self.session.settings.git.url_policy())

    async def _warm_repository(self, url: str, ref: str, reference: str) -> None:
        from core.assembly.warming import repository_to_warm, warming

        wanted = repository_to_warm(self.session.settings, url, ref or None, reference or None)

        def tell(repository: RepositoryToWarm, here: int, files: int, received: int) -> None:
            self._say(f"{repository.url}: {here:,} of {files:,} files, {units.size(received)}")

        async def work() -> str:
            async with warming(self.session.settings, [wanted]) as warmer:
                (answer,) = await warmer.repositories([wanted], tell)
            return _outcome(answer)

        await self._while_warming(wanted.url, work)

    async def _warm_waiting(self) -> None:
        from core.assembly.warming import warming

        settings = self.session.settings

        def tell(events: WarmedEvents) -> None:
            self._say(f"{events.events:,} events, {events.files:,} files, {units.size(events.bytes)}")

        async def work() -> str:
            log = await self.session.log()
            async with warming(settings) as warmer:
                done = await warmer.waiting(
                    log, settings.log.group, settings.log.topics, limit=WAITING_EVENTS, tell=tell
                )
            return done.sentence()

        await self._while_warming("waiting events", work)

    async def _while_warming(self, what: str, work: Callable[[], Awaitable[str]]) -> None:
        self._say(what)
        try:
            self.archon.tell(await work())
        except ArchonError as error:
            self.archon.fail(error)
        finally:
            self._warming = None
        self.archon.coordinator.again()

    def _say(self, text: str) -> None:
        self._warming = text
        self._due = True

    # Emptying

    def why_not_cache_clear(self) -> str | None:
        row = self.list.current
        if row is None:
            return "there is no cache"
        if row.opened is None:
            return "it is an agent's: run archon-agent cache clear where the agent runs"
        return None if row.opened.stats.entries else "it is empty"

    def question_cache_clear(self) -> Question | None:
        row = self.list.current
        if row is None or row.opened is None:
            return None
        stats = row.opened.stats
        return Question(
            f"Empty the {row.kind} cache of this machine?",
            [
                [(f"{stats.entries:,} entries, {units.size(stats.bytes)}, in {stats.directory}", "")],
                [("What is being read stays; the rest is fetched again when it is needed.", "")],
            ],
            "empty it",
        )

    async def do_cache_clear(self) -> None:
        row = self.list.current
        if row is not None and row.opened is not None:
            entries, size = await asyncio.to_thread(self._clear, row.kind)
            self.archon.tell(f"removed {entries:,} entries, {units.size(size)}")
            self.archon.coordinator.again()

    def _clear(self, kind: str) -> tuple[int, int]:
        with self._lock:
            return self._caches[kind].clear() if self._caches else (0, 0)

    def copied(self) -> str | None:
        row = self.list.current
        if row is None:
            return None
        return row.opened.stats.directory if row.opened else f"{row.kind} cache of {row.place}"

    def export(self) -> Export | None:
        return table("cache", self._rows, document)


def wrong_ref(text: str) -> None:
    """Raises UnsafeInput for what names no branch, tag or commit."""
    from core.safety.git_url import check_ref_name

    check_ref_name(text)


def _outcome(answer: WarmedRepository) -> str:
    told = f"{answer.files:,} files of {answer.url}: {answer.fetched:,} fetched, {units.size(answer.bytes)}"
    if answer.error is None:
        return told
    return f"{told}, {answer.missing:,} missing: {answer.error}" if answer.files else str(answer.error)
