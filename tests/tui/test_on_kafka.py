"""The dashboard on Kafka: what the agents elsewhere make of a run, and the way of the one on call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from archon_tui.app import ArchonApp
from archon_tui.demo import files, make_repository
from archon_tui.models.run import RunState
from archon_tui.processes import ready_for_processes
from archon_tui.session import Session
from core.assembly.consuming import consuming
from core.assembly.stores import open_log
from tests.servers.kafka import GROUP, Broker
from tests.tui.driving import chosen, page, session_for, until, view

pytestmark = pytest.mark.xdist_group(GROUP)


@asynccontextmanager
async def agent_of(session: Session) -> AsyncIterator[None]:
    """An agent of the session's group, as a service."""
    ready_for_processes()
    stop = asyncio.Event()
    async with consuming(session.settings) as agent:
        running = asyncio.create_task(agent.run(drain=False, stop=stop))
        try:
            yield
        finally:
            stop.set()
            await running


def damaged(objects: Path) -> dict[Path, bytes]:
    """Every stored object with its last byte turned round; what they were before."""
    before = {path: path.read_bytes() for path in objects.rglob("*") if path.is_file()}
    for path, content in before.items():
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 0xFF]))
    return before


async def test_from_a_run_that_nobody_consumes_to_a_drained_group(kafka: Broker, tmp_path: Path) -> None:
    flags: dict[str, Any] = {
        "kafka.servers": kafka.servers,
        "kafka.create_topics": True,
        "storage.provider": "local",
        "kafka.partitions": 2,
        "log.group": f"group-{uuid4().hex[:8]}",
        "publish.batch_size": 10,
    }
    session = session_for(tmp_path / "home", flags=flags)
    session.choose(chosen(make_repository(tmp_path / "shop", files("shop", 24))))
    app = ArchonApp(session, first="plan")
    async with app.run_test(size=(120, 36)) as pilot:
        # Published, and nobody is there: unknown at first, then truly none.
        await until(pilot, lambda: session.plan and session.plan.is_complete)
        await pilot.press("R", "y")
        await until(pilot, lambda: session.run and session.run.state is RunState.PUBLISHED)
        run = session.run
        assert run
        await until(pilot, lambda: run.model.reported)
        published = run.model.counts["published"]
        assert published == 30
        await until(pilot, lambda: f"0 of {published}" in view(page(pilot), "#stages"))
        await until(pilot, lambda: "no agent of the group speaks" in view(page(pilot), "#stages"))
        assert page(pilot).why_not(app.action("run.cancel")) == (
            "all is published: the agents go on by themselves"
        )
        assert app.question_app_quit() is None

        # An agent comes; an object is damaged: the bars fill, the failures are listed.
        before = damaged(session.settings.objects_dir)
        async with agent_of(session):
            await until(pilot, lambda: run.state is RunState.DONE)
        failed = run.model.counts["failed"]
        assert failed == 3
        assert (run.model.counts["analyzed"], run.model.counts["received"]) == (published - failed, published)
        assert {problem.path for problem in run.model.problems} == {
            "data/model.bin",
            "data/photo.bin",
            "data/schema.sql",
        }
        assert run.model.failures == {"checksum_mismatch": failed}

        # On call: the verdict, its dead letters, the repair, and sent again.
        await pilot.press("7")
        events = page(pilot)
        events.set_filter("kind:dead checksum")
        await until(pilot, lambda: len(events.events.rows) > 0)
        for path, content in before.items():
            path.write_bytes(content)
        events.events.focus()
        await pilot.press("a", "D", "y")
        await until(pilot, lambda: all(row.redriven for row in events.events.marked_rows() or [None]))
        await pilot.press("4")
        await until(pilot, lambda: app.seen and app.seen.report.lag > 0)
        async with agent_of(session):
            await pilot.press("r")
            await until(pilot, lambda: app.seen and app.seen.report.lag == 0)
    await session.close()
    async with open_log(session.settings) as log:
        group, topics = session.settings.log.group, session.settings.log.topics
        assert sum(place.lag for place in await log.lag(group, topics)) == 0
