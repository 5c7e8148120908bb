"""Cache: what is made of figures, and the screen over a real cache that it empties."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from archon_tui.app import ArchonApp
from archon_tui.models.cache import HERE, Opened, Trends, causes, detail, document, headline, rows, trend_text
from archon_tui.screens.cache import CachePage
from archon_tui.screens.dialogs import Confirm
from archon_tui.session import Session
from core.assembly.stores import open_caches
from core.cache.counters import CacheStats
from core.cache.index import Listed
from core.events.agent import AgentStatus, CacheFigures
from core.fleet import Member
from core.settings import Settings
from core.settings.model import load
from tests.tui.driving import until

AT = datetime(2026, 1, 1, tzinfo=UTC)
STATS = CacheStats("/c", 1000, 3, 500, 0, 9, {"absent": 1, "corrupt": 2}, {"too_large": 4}, 5, 2, 90, 900)
OPENED = Opened(STATS, (Listed("ab/[x]", 400, 1_700_000_000_000_000_000),))


def member(hits: int = 3, misses: int = 1, *, at: datetime = AT, age_s: float = 1.0) -> Member:
    figures = CacheFigures(hits=hits, misses=misses, bytes=10, max_bytes=100)
    status = AgentStatus(
        id="a-1",
        version="1",
        host="h",
        pid=7,
        group="g",
        started_at=AT,
        at=at,
        interval_s=5,
        caches={"git": figures, "object": figures},
    )
    return Member(status, age_s)


def test_rows_are_this_machine_then_agents_by_type() -> None:
    found = rows({"object": OPENED}, 1, [member()], Trends())
    assert [row.key for row in found] == [("object", HERE), ("object", "a-1"), ("git", "a-1")]
    assert [(row.hits, row.lookups) for row in found] == [(9, 12), (3, 4), (3, 4)]
    assert [row.evictions for row in found] == [5, None, None]
    assert document(found[0])["misses"] == {"absent": 1, "corrupt": 2}


def test_the_headline_sums_live_agents_only() -> None:
    shown = ["".join(text for text, _ in line) for line in headline(rows({}, 1, [member()], Trends()))]
    assert shown[0].split() == ["object", "1", "live", "agent", "·", "3/4", "hits", "75", "%"]
    stale = headline(rows({}, 1, [member(age_s=60)], Trends()))
    assert "no live agent" in stale[0][1][0]


def test_a_trend_is_the_rate_between_looks_and_starts_again_with_the_agent() -> None:
    trends = Trends()
    key = ("object", "a-1")
    assert trends.add(key, 1, 0, 10) == ()
    assert trends.add(key, 1, 5, 15) == ()
    assert trends.add(key, 2, 10, 20) == (1.0,)
    assert trends.add(key, 3, 10, 20) == (1.0, None)
    assert trends.add(key, 4, 1, 4) == (1.0, None, 0.25)


def test_an_agents_trend_grows_only_when_it_speaks() -> None:
    trends = Trends()
    rows({}, 1, [member(0, 0)], trends)
    rows({}, 2, [member(0, 0)], trends)
    found = rows({}, 3, [member(1, 1, at=AT + timedelta(seconds=5))], trends)
    assert found[0].trend == (0.5,)


def test_the_sparkline_ends_at_a_hundred_percent() -> None:
    trends = Trends()
    rows({}, 1, [member(0, 0)], trends)
    (row, _) = rows({}, 2, [member(1, 7, at=AT + timedelta(seconds=5))], trends)
    assert trend_text(row, 4) == "   ▂"


def test_the_detail_names_causes_and_the_largest_entries() -> None:
    (row,) = rows({"object": OPENED}, 1, [], Trends())
    shown = "\n".join("".join(text for text, _ in line) for line in detail(row, 80))
    assert "corrupt 2 · absent 1" in shown
    assert "too large 4" in shown
    assert "400 B  2023-11-14 22:13  ab/[x]" in shown
    assert causes({}) == "0"


def filled(home: Path) -> Settings:
    settings = load({"home": home}, environ={}).settings
    cache = open_caches(settings)["object"]
    writer = cache.reserve(hashlib.sha256(b"hello").hexdigest(), 5)
    writer.write(b"hello")
    writer.commit()
    cache.close()
    return settings


async def test_clearing_asks_first_and_then_empties_the_real_cache(tmp_path: Path) -> None:
    app = ArchonApp(Session(filled(tmp_path)), first="cache")
    async with app.run_test(size=(120, 36)) as pilot:
        page = app.page
        assert isinstance(page, CachePage)
        await until(pilot, lambda: page.list.current is not None)
        await pilot.press("C")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: bool(page.list.current and page.list.current.bytes == 0))
        assert page.why_not_cache_clear() == "it is empty"
    await app.session.close()


async def test_without_a_cache_the_screen_says_which_setting_brings_it(tmp_path: Path) -> None:
    settings = load({"home": tmp_path, "cache.max_size_gb": 0}, environ={}).settings
    app = ArchonApp(Session(settings), first="cache")
    async with app.run_test(size=(80, 24)) as pilot:
        page = app.page
        assert isinstance(page, CachePage)
        await until(pilot, lambda: page.reading.value == {})
        said = "".join(text for line in page.headline() for text, _ in line)
        assert "--cache-max-size-gb" in said
    await app.session.close()


async def test_read_only_refuses_to_clear(tmp_path: Path) -> None:
    app = ArchonApp(Session(filled(tmp_path), read_only=True), first="cache")
    async with app.run_test(size=(80, 24)) as pilot:
        page = app.page
        assert isinstance(page, CachePage)
        await until(pilot, lambda: page.list.current is not None)
        await pilot.press("C")
        assert app.screen is page
        assert "read-only" in (page.why_not(app.action("cache.clear")) or "")
    await app.session.close()
