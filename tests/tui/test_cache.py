"""Cache: what is made of figures, and the screen over a real cache that it empties."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from textual.screen import Screen
from textual.widgets import Input

from archon_tui.app import ArchonApp
from archon_tui.models.cache import (
    HERE,
    CacheRow,
    Opened,
    Trends,
    causes,
    detail,
    document,
    headline,
    rows,
    trend_text,
)
from archon_tui.screens.cache import CachePage
from archon_tui.screens.dialogs import Ask, Confirm
from archon_tui.session import Session
from archon_tui.widgets.line_view import LineView
from core.assembly.stores import open_content_cache
from core.cache.base import Listed
from core.cache.counters import CacheStats
from core.events.agent import AgentStatus, CacheFigures
from core.fleet import Member
from core.settings import Settings
from core.settings.model import load
from tests.bare_repositories import BareRepository
from tests.servers.git_http import GitHttpServer
from tests.tui.driving import until, words

AT = datetime(2026, 1, 1, tzinfo=UTC)
STATS = CacheStats("/c", 1000, 3, 500, 0, 9, {"absent": 1, "corrupt": 2}, {"too_large": 4}, 5, 2, 90, 900)
USED_NS = 1_700_000_000_000_000_000
OPENED = Opened(STATS, (Listed("ab/[x]", 400, USED_NS),))
CLONE = Listed("https://git.example.com/shop", 400, USED_NS, "env:TOKEN")


def member(hits: int = 3, misses: int = 1, *, at: datetime = AT, age_s: float = 1.0) -> Member:
    figures = CacheFigures(
        hits=hits,
        misses=misses,
        bytes=10,
        max_bytes=100,
        entries=2,
        evictions=7,
        corruptions=0,
        causes={"absent": 1},
    )
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
    assert [row.evictions for row in found] == [5, 7, 7]
    assert document(found[0])["misses"] == {"absent": 1, "corrupt": 2}


def test_the_headline_sums_live_agents_only() -> None:
    told = ["".join(text for text, _ in line) for line in headline(rows({}, 1, [member()], Trends()))]
    assert told[0].split() == ["object", "1", "live", "agent", "·", "3/4", "hits", "75", "%"]
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


def shown(row: CacheRow) -> str:
    return words(detail(row, 80))


def test_the_detail_names_causes_and_entries() -> None:
    (row,) = rows({"object": OPENED}, 1, [], Trends())
    assert "corrupt 2 · absent 1" in shown(row)
    assert "too large 4" in shown(row)
    assert "largest first" in shown(row)
    assert "400 B  2023-11-14 22:13  ab/[x]" in shown(row)
    assert causes({}) == "0"


def test_a_clone_is_named_by_its_url_and_credential_reference() -> None:
    (row,) = rows({"git": Opened(STATS, (CLONE,), "age")}, 1, [], Trends())
    assert "400 B  2023-11-14 22:13  https://git.example.com/shop  with env:TOKEN" in shown(row)
    assert "least recently used first" in shown(row)


def test_an_agent_tells_causes_evictions_and_corruptions() -> None:
    (row, _) = rows({}, 1, [member()], Trends())
    assert "absent 1" in shown(row)
    assert "evicted  7   corrupt 0   entries 2" in shown(row)
    old = member()
    silent = {"evictions": None, "corruptions": None, "entries": None, "causes": None}
    caches = {"git": old.status.caches["git"].model_copy(update=silent)}
    (row,) = rows({}, 1, [Member(old.status.model_copy(update={"caches": caches}), 1.0)], Trends())
    assert "misses   –" in shown(row)
    assert "evicted  –   corrupt –   entries –" in shown(row)


def filled(home: Path) -> Settings:
    settings = load({"home": home}, environ={}).settings
    cache = open_content_cache(settings)
    assert cache
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
        await until(pilot, lambda: [row.kind for row in page.rows()] == ["git"])
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


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitHttpServer]:
    (tmp_path / "served").mkdir()
    BareRepository(tmp_path / "served" / "shop.git").commit({"a.py": b"x = 1\n", "b.py": b"y = 2\n"})
    with GitHttpServer(tmp_path / "served") as running:
        yield running


def cold(home: Path) -> Settings:
    given = {"home": home, "git.schemes": "https,http", "git.networks": "127.0.0.0/8"}
    return load(given, environ={"CONTENT_STORAGE_PROVIDER": "none"}).settings


def says(screen: Screen[Any], selector: str, text: str) -> bool:
    return text in words(screen.query_one(selector, LineView).lines)


def on_git(page: CachePage) -> bool:
    found = [row.kind for row in page.rows()]
    if "git" in found:
        page.list.move_to(found.index("git"))
    return page.list.current is not None and page.list.current.kind == "git"


async def test_warming_fetches_a_repository_into_the_real_cache(
    tmp_path: Path, server: GitHttpServer
) -> None:
    app = ArchonApp(Session(cold(tmp_path / "home")), first="cache")
    async with app.run_test(size=(120, 36)) as pilot:
        page = app.page
        assert isinstance(page, CachePage)
        await until(pilot, lambda: on_git(page))
        await pilot.press("W")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        ask = app.screen
        assert isinstance(ask, Ask)
        url, ref, reference = ask.query(Input)
        for place, (field, wrong, why) in enumerate(
            (
                (url, "ext::sh", "not a Git URL"),
                (ref, "--upload-pack=x", "not a branch"),
                (reference, "s3cr3t", "not a credential reference"),
            )
        ):
            field.value = wrong
            await until(pilot, partial(says, ask, f"#verdict-{place}", why))
        url.value, ref.value, reference.value = server.url("shop.git"), "main", ""
        await pilot.press("enter", "enter", "enter")
        await until(pilot, lambda: says(page, "#detail", server.url("shop.git")))
        assert page.list.current
        assert page.list.current.entries == 1
        await pilot.press("t")
        await until(pilot, lambda: says(page, "#detail", "least recently used first"))
    await app.session.close()


async def test_warming_what_waits_asks_first(tmp_path: Path) -> None:
    app = ArchonApp(Session(cold(tmp_path)), first="cache")
    async with app.run_test(size=(80, 24)) as pilot:
        page = app.page
        assert isinstance(page, CachePage)
        await until(pilot, lambda: page.list.current is not None and page.list.current.kind == "object")
        await pilot.press("W")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        told = "0 waiting events: 0 files are here (0 B), 0 could not be had"
        await until(pilot, lambda: told in [note.message for note in app._notifications])
    await app.session.close()


async def test_read_only_refuses_to_warm(tmp_path: Path) -> None:
    app = ArchonApp(Session(cold(tmp_path), read_only=True), first="cache")
    async with app.run_test(size=(80, 24)) as pilot:
        page = app.page
        assert isinstance(page, CachePage)
        await until(pilot, lambda: page.list.current is not None)
        await pilot.press("W")
        assert app.screen is page
        assert "read-only" in (page.why_not(app.action("cache.warm")) or "")
    await app.session.close()
