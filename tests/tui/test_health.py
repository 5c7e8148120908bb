"""Health: what rows say of checks and agents, and the screen over real checks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from archon_tui.app import ArchonApp
from archon_tui.models.health import (
    absent_row,
    agent_row,
    check_row,
    detail,
    document,
    headline,
    history_row,
    rows,
)
from archon_tui.screens.health import HealthPage
from archon_tui.session import Session
from archon_tui.text import State
from core.assembly.consuming import consuming
from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.events.agent import AgentStatus
from core.events.topics import AGENT_STATUS
from core.fleet import Member
from core.history.store import HistoryTotals
from core.log.base import OutgoingMessage
from core.settings.model import load
from core.telemetry import health
from core.telemetry.health import Report, Result
from tests.repositories import FILES, commit
from tests.servers.kafka import GROUP, Broker
from tests.tui.driving import drawn, page, session_for, until

AT = datetime(2026, 1, 1, tzinfo=UTC)
OK = Result("data disk", health.State.OK, True, "40% of 1 TB free", None, None, 0.1, age_s=2)
FAILED = Result("log", health.State.FAILED, True, None, "kafka:9092 refused", "start it", 3.0)


def member(age_s: float = 1.0, **status: object) -> Member:
    made = {"id": "a-1", "version": "1", "host": "h", "pid": 7, "group": "g", "interval_s": 5.0, **status}
    return Member(AgentStatus.model_validate({**made, "started_at": AT, "at": AT}), age_s)


def text(lines: list[list[tuple[str, str]]]) -> str:
    return "\n".join("".join(piece for piece, _ in line) for line in lines)


def test_a_check_grows_older_and_shows_its_error_and_hint() -> None:
    assert check_row(OK, 10.4).age_s == 12
    row = check_row(FAILED, 0.0)
    assert (row.piece, row.text) == (("✗ failed", "fail"), "kafka:9092 refused")
    shown = text([list(line) for line in detail(row)])
    assert "→ start it" in shown
    assert document(row)["hint"] == "start it"


def test_an_agent_is_stale_once_it_missed_its_turns_however_old_the_reading() -> None:
    assert agent_row(member(), 0.0).word == "idle"
    assert agent_row(member(in_flight_events=2), 0.0).word == "working"
    assert agent_row(member(), 20.0).word == "stale"
    assert agent_row(member(blocked="the log refuses"), 0.0).piece == ("✗ blocked", "fail")
    open_circuit = agent_row(member(circuits={"s3": "open", "git": "closed"}), 0.0)
    assert (open_circuit.state, open_circuit.text) == (State.WARN, "leaves alone for now: s3")


def test_the_headline_names_what_to_look_at() -> None:
    found = rows(Report((OK, FAILED)), 0.0, [member(), member(id="a-2", blocked="x")], 0.0)
    shown = text([list(line) for line in headline(found)])
    assert "✗ failed · look at log" in shown
    assert "1 of 2 agents well" in shown


def test_a_backend_that_is_not_set_up_is_no_failure() -> None:
    found = rows(Report((OK,)), 0.0, [], 0.0, [absent_row("object storage", "--storage-provider brings one")])
    assert "every check of 1 passes" in text([list(line) for line in headline(found)])
    assert found[1].piece == ("– off", "dim")


def test_the_history_says_how_much_there_is_or_what_keeps_it_from_growing() -> None:
    totals = HistoryTotals(1200, 3, 1767225600.0, 1769904000.0)
    row = history_row(totals, 7.9, None)
    assert row.piece == ("✓ ok", "ok")
    assert row.text == "1,200 deliveries known from both sides, 3 from one, from 2026-01-01 to 2026-02-01"
    assert row.age_s == 7
    assert history_row(totals, 90.0, "no broker").piece == ("! degraded", "warn")
    assert history_row(None, None, "no broker").text == "no broker"


@pytest.mark.xdist_group(GROUP)
async def test_the_history_grows_while_the_dashboard_is_open_on_kafka(kafka: Broker, tmp_path: Path) -> None:
    shared = {"kafka.servers": kafka.servers, "kafka.create_topics": True, "kafka.reach_timeout": "20s"}
    shared["log.group"] = f"health-{uuid4().hex[:8]}"
    session = session_for(tmp_path / "here", flags=shared)
    there = session_for(tmp_path / "there", flags=shared).settings
    root = commit(tmp_path / "shop")

    async def deliver() -> None:
        target = Target(root, project_name="shop", force_reindex=True)
        async with ingestion(session.settings, target) as job:
            await job.publisher.publish(job.planner.stream())
        async with consuming(there, service=False) as agent:
            await agent.run(drain=True, stop=asyncio.Event())

    await deliver()
    app = ArchonApp(session, first="health")
    async with app.run_test(size=(160, 40)) as pilot:

        def told() -> str:
            return " ".join(row.text for row in page(pilot).list.rows.all if row.kind == "history")

        await until(pilot, lambda: f"{len(FILES)} deliveries known from both sides" in told())
        await deliver()
        await pilot.press("r")
        await until(pilot, lambda: f"{2 * len(FILES)} deliveries known from both sides" in told())
    await session.close()


async def test_a_history_that_is_turned_off_is_off(tmp_path: Path) -> None:
    session = session_for(tmp_path / "home", flags={"history.enabled": False})
    app = ArchonApp(session, first="health")
    async with app.run_test(size=(160, 40)) as pilot:
        await until(pilot, lambda: len(page(pilot).list.rows) >= 5)
        words = {row.name: row.word for row in page(pilot).list.rows.all}
        assert words["delivery history"] == "off"
    await session.close()
    assert not (session.settings.data_dir / "history.sqlite").exists()


async def test_the_screen_runs_the_real_checks(tmp_path: Path) -> None:
    settings = load({"home": tmp_path / "home"}, environ={}).settings
    app = ArchonApp(Session(settings), first="health")
    async with app.run_test(size=(80, 24)) as pilot:
        shown = app.page
        assert isinstance(shown, HealthPage)
        await until(pilot, lambda: len(shown.list.rows) >= 5)
        names = {row.name: row.word for row in shown.list.rows.all}
        assert names.items() >= {"log": "ok", "data disk": "ok", "process pool": "ok"}.items()
        assert names["object storage"] == "off"
        await pilot.press("enter")
        assert shown.focused is shown.query_one("#detail")
        await pilot.press("escape")
        assert shown.focused is shown.list
    await app.session.close()


async def test_agents_stand_on_health_and_cache_with_what_strangers_said_escaped(tmp_path: Path) -> None:
    session = session_for(tmp_path / "home")
    now = session.now()
    status = member(
        id="a[/b]\x1b[31m",
        host="h\u202e",
        at=now,
        interval_s=600.0,
        caches={"object": {"hits": 1, "misses": 3, "max_bytes": 10}},
        last_errors=[{"at": now, "message": "bad\x1b]52;c;aGk=\x07 [bold]"}],
    ).status
    log = await session.log()
    await log.publish(AGENT_STATUS, [OutgoingMessage(b"a", status.model_dump_json().encode())])
    app = ArchonApp(session, first="health")
    async with app.run_test(size=(160, 40)) as pilot:
        health_page = page(pilot)
        await until(pilot, lambda: any(row.kind == "agent" for row in health_page.list.rows.all))
        health_page.list.move_to(len(health_page.list.rows) - 1)
        await until(pilot, lambda: "\\x1b]52" in "".join(drawn(health_page.query_one("#detail"))))
        text = "".join((*drawn(health_page.list), *drawn(health_page.query_one("#detail"))))
        assert "a[/b]\\x1b[31m" in text
        assert "h\\u202e" in text
        assert text.isprintable()
        await pilot.press("5")
        await until(pilot, lambda: any(row.opened is None for row in page(pilot).list.rows.all))
        text = "".join(drawn(page(pilot).list))
        assert "a[/b]\\x1b[31m" in text
        assert "1/4" in text
        assert text.isprintable()
    await session.close()
