"""The screens that matter as pictures, at the three sizes, in the light, and without colour.

Clock, names and figures are frozen. After a change that is meant: `pytest tests/tui/test_snapshots.py
--snapshot-update`, and look at what came out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from archon_tui.app import ArchonApp
from archon_tui.demo import files
from archon_tui.replay import Replay
from archon_tui.session import Session
from archon_tui.watch import Seen
from core.events.agent import AgentStatus
from core.fleet import Member
from core.log.base import PartitionLag, TopicPartition
from core.log.lag import LagWindow
from core.settings import load
from tests.tui.driving import chosen, drawn, page, until
from tests.tui.test_replay import journal

__all__ = ["journal"]  # a fixture

NOW = datetime(2026, 1, 1, 3, 0, tzinfo=UTC)
CLOCK_S = 1000.0
AGENT = "agent-7f3"
SIZES = ((80, 24), (120, 36), (200, 50))
Compare = Callable[..., bool]
Look = Callable[[], Coroutine[Any, Any, Seen]]


class Frozen(ArchonApp):
    """The application without motion; it closes what it opened."""

    CSS_PATH = str(Path(inspect.getfile(ArchonApp)).with_name("archon.tcss"))

    def __init__(self, session: Session, *, first: str, look: Look | None = None) -> None:
        super().__init__(session, first=first)
        self.animation_level = "none"
        if look:
            self.lag_watch.look = look  # type: ignore[method-assign]

    async def on_unmount(self) -> None:
        await self.coordinator.close()
        await self.session.close()


def frozen(home: Path, *, theme: str = "textual-dark") -> Session:
    """A session whose clock stands."""
    settings = load({"home": home, "tui.theme": theme}, environ={}).settings
    return Session(settings, clock=lambda: CLOCK_S, now=lambda: NOW)


def planned(tmp_path: Path, **more: Any) -> Frozen:
    """The Plan screen over the demo's files."""
    root = tmp_path / "shop-api"
    for path, content in files("shop-api", 24).items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    session = frozen(tmp_path / "home", **more)
    session.choose(chosen(root))
    return Frozen(session, first="plan")


def stalled(tmp_path: Path, **more: Any) -> Frozen:
    """The Lag screen over a group of which one partition has not moved for 96 seconds."""
    window = LagWindow("archon-intelligence")
    for second in range(0, 104, 8):
        places = [
            PartitionLag("requests.v2", 0, 1_204_110 + second, 0, 1_204_112 + second, 0.1),
            PartitionLag("requests.v2", 1, 998_310, 0, 998_310 + 12 * (second + 4), float(second)),
        ]
        window.add(places, CLOCK_S - 96 + second)
    status = AgentStatus(
        id=AGENT,
        version="1",
        host="node-3",
        pid=7,
        group="archon-intelligence",
        interval_s=5.0,
        started_at=NOW,
        at=NOW,
        in_flight_events=1,
        blocked="process pool stuck on gen/huge.c",
    )
    report = window.report({TopicPartition("requests.v2", number): AGENT for number in (0, 1)})
    seen = Seen(report, (Member(status, 1.0),), ("archon-intelligence",))

    async def look() -> Seen:
        return seen

    return Frozen(frozen(tmp_path / "home", **more), first="lag", look=look)


def replayed(tmp_path: Path, journal: Path) -> Frozen:
    """The Run screen at the end of a journal."""
    session = frozen(tmp_path / "home")
    session.replay = Replay.of(journal, clock=session.clock)
    session.replay.seek(session.replay.length_s)
    return Frozen(session, first="run")


async def settled(pilot: Pilot[Any]) -> None:
    """Everything that comes has come, and is drawn."""
    app, session = pilot.app, pilot.app.session  # type: ignore[attr-defined]
    await until(pilot, lambda: app.log_reading.is_live)  # type: ignore[attr-defined]
    if session.chosen:
        await until(pilot, lambda: session.plan and session.plan.is_complete)
        await until(pilot, lambda: len(page(pilot).files.rows) == len(session.plan.rows))
        await pilot.press("j", "j")
        if page(pilot).side.display:
            await pilot.press("w", "escape")
            await until(pilot, lambda: page(pilot).side.border_title == "why")
    page(pilot).tick()
    page(pilot).refresh_bars()
    await pilot.pause()


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
def test_plan(snap_compare: Compare, tmp_path: Path, size: tuple[int, int]) -> None:
    assert snap_compare(planned(tmp_path), terminal_size=size, run_before=settled)


def test_run(snap_compare: Compare, tmp_path: Path, journal: Path) -> None:
    assert snap_compare(replayed(tmp_path, journal), terminal_size=(80, 24), run_before=settled)


def test_lag_that_stalls(snap_compare: Compare, tmp_path: Path) -> None:
    assert snap_compare(stalled(tmp_path), terminal_size=(120, 36), run_before=settled)


def test_lag_in_the_light(snap_compare: Compare, tmp_path: Path) -> None:
    app = stalled(tmp_path, theme="textual-light")
    assert snap_compare(app, terminal_size=(80, 24), run_before=settled)


def test_plan_without_colour(snap_compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(planned(tmp_path), terminal_size=(80, 24), run_before=settled)


def test_a_terminal_that_is_too_small(snap_compare: Compare, tmp_path: Path) -> None:
    assert snap_compare(planned(tmp_path), terminal_size=(52, 14))


async def test_without_colour_letters_glyphs_and_words_say_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    plan = planned(tmp_path / "plan")
    async with plan.run_test(size=(120, 36)) as pilot:
        assert plan.no_color
        await settled(pilot)
        letters = {line[1:3] for line in drawn(page(pilot).files)[1:31]}
        assert letters == {"I ", "O "}
        assert any(line.startswith(">") for line in drawn(page(pilot).files))
        assert "● live" in page(pilot).query_one("#top").text
    monkeypatch.setenv("NO_COLOR", "1")  # Textual takes it out of the environment
    lag = stalled(tmp_path / "lag")
    async with lag.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        assert "✗ STALL" in "\n".join(drawn(page(pilot).query_one("#group")))
        rows = drawn(page(pilot).partitions)
        assert any("✗ STALL" in line and AGENT in line for line in rows)
        assert any("✓ OK" in line for line in rows)
