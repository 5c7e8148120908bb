"""A run's journal gives back what was recorded, however it ended, and never fails the run."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BackendUnavailable, UsageError
from core.events.common import ContentStrategy
from core.journal import Header, Recorder, events, journals, new_file, open_journal, prune, recording
from core.progress import BatchPublished, FileFailed, FilesPacked, FilesScanned, RunEvent

HEADER = Header(
    "shop", "/src/shop", "embedded x", datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC), {"inline": 3}
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def record(file: Path, given: list[RunEvent], outcome: dict[str, object] | None = None) -> None:
    clock = Clock()
    with Recorder(file, HEADER, clock=clock) as recorder:
        for event in given:
            clock.now += 0.25
            recorder(event)
        if outcome is not None:
            recorder.end(outcome)


def test_what_is_recorded_is_what_is_played(tmp_path: Path) -> None:
    given: list[RunEvent] = [
        FilesScanned(3, 4096),
        FilesPacked(ContentStrategy.INLINE, 3, 4096, 0.01),
        FileFailed("shop", "a\udcff\x1b[2J.py", "analysis_failed", "parser\nhung"),
    ]
    record(tmp_path / "j.jsonl", given, {"files": 3})
    journal = open_journal(tmp_path / "j.jsonl")
    assert journal.header == HEADER
    assert journal.outcome == {"files": 3}
    assert [recorded.event for recorded in events(journal)] == given
    assert [recorded.at_s for recorded in events(journal)] == [0.25, 0.5, 0.75]


@settings(deadline=None)  # the first of a kind builds its validator
@given(data=st.data())
def test_every_kind_of_event_survives(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    kind = data.draw(st.sampled_from(get_args(RunEvent)))
    event = data.draw(st.from_type(kind))
    file = tmp_path_factory.mktemp("journal") / "j.jsonl"
    record(file, [event])
    (recorded,) = events(open_journal(file))
    assert repr(recorded.event) == repr(event)  # not a number is not equal to itself


def test_a_run_that_was_killed_is_good_up_to_there(tmp_path: Path) -> None:
    file = tmp_path / "j.jsonl"
    record(file, [FilesScanned(1, 1), FilesScanned(2, 2)])
    whole = file.read_bytes()
    for cut in range(whole.index(b"\n") + 1, len(whole)):
        file.write_bytes(whole[:cut])
        journal = open_journal(file)
        assert journal.outcome is None
        assert [item.event for item in events(journal)] == [FilesScanned(1, 1), FilesScanned(2, 2)][
            : whole[: cut + 1].count(b"\n") - 1
        ]


def test_lines_of_a_newer_archon_and_nonsense_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "j.jsonl"
    record(file, [FilesScanned(1, 1)])
    with file.open("ab") as out:
        out.write(
            b'[1,"FilesTeleported",{"files":1}]\n[2,"FilesScanned",{"files":"many"}]\n{}\n[]\nnull\n\xff\n'
        )
        out.write(b'[3000,"FilesDeleted",{"files":2}]\n')
    assert [type(item.event).__name__ for item in events(open_journal(file))] == [
        "FilesScanned",
        "FilesDeleted",
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]\n",
        b'{"journal": 99}\n',
        b'{"journal": 1}\n',
        b'{"journal":1,"project":"a","path":"b","log":"c","started_at":"2026-01-01","planned":[1]}\n',
        b"\x00" * 100,
    ],
)
def test_what_is_no_journal_is_told_so(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "no\x1b.jsonl"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"no\\x1b.jsonl is not a journal"):
        open_journal(file)


def test_a_missing_journal_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        open_journal(tmp_path / "none.jsonl")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    record(tmp_path / "j.jsonl", [])
    with pytest.raises(UsageError, match="File exists"):
        Recorder(tmp_path / "j.jsonl", HEADER)


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    record(tmp_path / "j.jsonl", [])
    assert (tmp_path / "j.jsonl").stat().st_mode & 0o077 == 0


def test_a_full_disk_ends_the_journal_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path / "j.jsonl", HEADER, clock=Clock())

    def full(_text: object = None) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(recorder._out, "write", full)
    recorder(FilesScanned(1, 1))
    recorder(FilesScanned(1, 1))
    assert recorder.trouble == "the journal is not written any more: No space left on device"


def test_events_reach_the_disk_while_the_run_goes_on(tmp_path: Path) -> None:
    clock = Clock()
    with Recorder(tmp_path / "j.jsonl", HEADER, clock=clock) as recorder:
        recorder(FilesScanned(1, 1))
        clock.now += 1.0
        recorder(BatchPublished(1, 1, 1, 1, 0.1))
        assert len(list(events(open_journal(tmp_path / "j.jsonl")))) == 2


def test_journals_are_listed_newest_first_and_the_oldest_go(tmp_path: Path) -> None:
    for day in (1, 3, 2):
        header = Header(f"day{day}", "/x", "log", datetime(2026, 1, day, tzinfo=UTC))
        with Recorder(new_file(tmp_path, header), header):
            pass
    (tmp_path / "stray.jsonl").write_text("x")
    assert [journal.header.project for journal in journals(tmp_path)] == ["day3", "day2", "day1"]
    (tmp_path / "stray.jsonl").unlink()
    assert prune(tmp_path, keep=2) == 1
    assert [journal.header.project for journal in journals(tmp_path)] == ["day3", "day2"]


def test_a_recording_keeps_how_the_run_broke_off_and_nothing_of_one_that_never_began(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable), recording(tmp_path, HEADER):
        raise BackendUnavailable("no host at https://user:hunter2@example.com/")
    (kept,) = journals(tmp_path)
    assert kept.outcome is not None
    assert kept.outcome["state"] == "failed"
    assert "hunter2" not in kept.file.read_text()
    with pytest.raises(UsageError), recording(tmp_path, HEADER):
        raise UsageError("no such path")
    assert journals(tmp_path) == [kept]


def test_a_run_that_cannot_be_recorded_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with recording(tmp_path / "file", HEADER) as recorder:
        assert recorder is None
