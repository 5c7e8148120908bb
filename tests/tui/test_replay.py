"""A replay shows at every moment what the run showed then; forwards, backwards, at any speed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from archon_tui.models.run import RunState, figure_lines, stage_lines
from archon_tui.replay import Replay
from core.errors import UsageError
from core.events.common import ContentStrategy
from core.journal import Header, Recorder
from core.progress import (
    BatchPublished,
    BatchReceived,
    FileAnalyzed,
    FileFailed,
    FileResolved,
    FilesPacked,
    FilesScanned,
    RunEvent,
)
from tests.tui.driving import words

HEADER = Header(
    "shop", "/src", "embedded", datetime(2026, 1, 1, tzinfo=UTC), {"discovered": 20, "inline": 20}
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A run of four seconds: ten files a second from the first on."""
    clock = Clock()
    with Recorder(tmp_path / "run.jsonl", HEADER, clock=clock) as recorder:
        for second in (1, 2):
            clock.now = float(second)
            happened: tuple[RunEvent, ...] = (
                FilesScanned(10, 1000),
                FilesPacked(ContentStrategy.INLINE, 10, 1000, 0.1),
                BatchPublished(second, 10, 1000, 1300, 0.1),
            )
            for event in happened:
                recorder(event)
        clock.now = 3.0
        recorder(BatchReceived("t", 0, 0, "shop", 20))
        recorder(FileResolved("a.py", "object_storage", 100, 1.5, attempts=3, cache_hit=False))
        clock.now = 4.0
        for number in range(19):
            recorder(FileAnalyzed("shop", f"{number}.py", 100, 0.5, "inline"))
        recorder(FileFailed("shop", "bad.py", "analysis_failed", "hung"))
        recorder.end({"state": "done"})
    return tmp_path / "run.jsonl"


def test_it_moves_on_with_the_clock_and_ends(journal: Path) -> None:
    clock = Clock()
    replay = Replay.of(journal, clock=clock)
    for now, scanned in ((0.5, 0), (1.0, 10), (2.5, 20)):
        clock.now = now
        replay.tick()
        assert replay.model.counts["scanned"] == scanned
    assert replay.state is RunState.RUNNING
    clock.now = 60.0
    replay.tick()
    assert (replay.elapsed_s, replay.state) == (4.0, RunState.DONE)
    assert (replay.model.done, replay.model.counts["retries"]) == (20, 2)


def test_pause_and_speed(journal: Path) -> None:
    clock = Clock()
    replay = Replay.of(journal, clock=clock)
    replay.toggle_pause()
    clock.now = 10.0
    replay.tick()
    assert replay.elapsed_s == 0.0
    replay.toggle_pause()
    replay.change_speed(2.0)
    clock.now = 11.0
    replay.tick()
    assert replay.elapsed_s == 2.0
    for _ in range(20):
        replay.change_speed(0.5)
    assert replay.speed == 0.125


def test_seeking_back_shows_what_was_shown_then(journal: Path) -> None:
    clock = Clock()
    replay = Replay.of(journal, clock=clock)
    replay.seek(1.5)
    then = words(stage_lines(replay.model, 120))
    replay.seek(4.0)
    assert words(stage_lines(replay.model, 120)) != then
    replay.seek(1.5)
    assert words(stage_lines(replay.model, 120)) == then
    replay.seek(-5.0)
    assert replay.elapsed_s == 0.0
    replay.seek(99.0)
    assert replay.elapsed_s == 4.0


def test_what_the_screen_says_of_the_end(journal: Path) -> None:
    replay = Replay.of(journal, clock=Clock())
    replay.seek(4.0)
    stages, figures = words(stage_lines(replay.model, 140)), words(figure_lines(replay.model))
    assert "generate" in stages
    assert "1 failed" in stages
    assert "1 × analysis_failed" in figures
    assert "object_storage 0/1 hits 0 %" in figures
    assert "a.py 1.5 s fetch" in figures
    rates = [stage.rate for stage in replay.model.stages()]
    assert all(rate is None or rate >= 0 for rate in rates)


def test_rates_and_eta_while_it_runs(journal: Path) -> None:
    replay = Replay.of(journal, clock=Clock())
    replay.seek(1.25)
    scan = replay.model.stages()[0]
    assert (scan.done, scan.total) == (10, 20)
    assert scan.rate
    assert scan.eta_s == pytest.approx(10 / scan.rate)


def test_a_run_of_no_time_at_all_is_shown_whole(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run.jsonl", HEADER, clock=Clock()) as recorder:
        recorder(FilesScanned(7, 7))
    replay = Replay.of(tmp_path / "run.jsonl", clock=Clock())
    assert replay.model.counts["scanned"] == 7
    assert replay.state is RunState.FAILED  # it broke off


def test_an_empty_journal_is_refused(tmp_path: Path) -> None:
    with Recorder(tmp_path / "empty.jsonl", HEADER):
        pass
    with pytest.raises(UsageError, match="holds no event"):
        Replay.of(tmp_path / "empty.jsonl")
