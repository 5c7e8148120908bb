"""The history joins its halves in any order, keeps to its bounds, and holds nothing it should not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from core.errors import BackendUnavailable
from core.history.observing import ConsumeObserver, backend_label, extension_of, observing
from core.history.store import ConsumedHalf, History, PublishedHalf, file_key
from core.progress import FileFailed, FileResolved


def published(file: int, at: float = 1000.0) -> PublishedHalf:
    return PublishedHalf(
        "job", file, at, "p", "inline", "embedded:1", "work_tree", "inline", 10, "python", "py", "utf-8",
        0.5, None, 120,
    )  # fmt: skip


def consumed(file: int, at: float = 1001.0, outcome: str = "ok") -> ConsumedHalf:
    return ConsumedHalf("job", file, at, "inline", 0.25, None, 1, 0, outcome)


def history(path: Path, now: float = 2000.0, **bounds: float) -> History:
    return History(path / "h.sqlite", now=lambda: now, **bounds)  # type: ignore[arg-type] # rows are whole


@pytest.mark.parametrize("published_first", [True, False])
async def test_halves_join_in_any_order(tmp_path: Path, published_first: bool) -> None:
    async with history(tmp_path) as it:
        if published_first:
            await it.add_published([published(1)])
            await it.add_consumed([consumed(1)])
        else:
            await it.add_consumed([consumed(1)])
            await it.add_published([published(1)])
        (row,) = await it.joined()
    assert (row.strategy, row.pack_s, row.resolve_s, row.outcome) == ("inline", 0.5, 0.25, "ok")


async def test_half_an_observation_waits(tmp_path: Path) -> None:
    async with history(tmp_path) as it:
        await it.add_published([published(1), published(2)])
        await it.add_consumed([consumed(1), consumed(3)])
        assert (await it.totals())[:2] == (1, 2)
        assert [row.file for row in await it.joined()] == [1]


async def test_a_delivery_repeated_counts_once_and_a_redriven_failure_is_mended(tmp_path: Path) -> None:
    async with history(tmp_path) as it:
        await it.add_published([published(1)])
        await it.add_consumed([consumed(1, outcome="content_missing")])
        await it.add_consumed([consumed(1)])
        (row,) = await it.joined()
    assert not row.failed


async def test_old_ones_go_then_the_oldest_of_too_many(tmp_path: Path) -> None:
    async with history(tmp_path) as it:
        await it.add_published([published(number, at=1000.0 + number) for number in range(100)])
    async with history(tmp_path, max_age_s=950.0, max_rows=20) as it:
        totals = await it.totals()
    assert (totals.waiting, totals.first) == (20, 1080.0)


async def test_it_keeps_to_its_bounds_while_it_is_open(tmp_path: Path) -> None:
    async with history(tmp_path, max_rows=100) as it:
        for number in range(300):
            await it.add_published([published(number, at=1000.0 + number)])
            totals = await it.totals()
            assert totals.waiting <= 105
    assert totals.first is not None
    assert totals.first >= 1194.0


async def test_an_hour_later_what_is_too_old_goes_without_being_opened_again(tmp_path: Path) -> None:
    now = 2000.0
    async with History(tmp_path / "h.sqlite", max_age_s=5000.0, now=lambda: now) as it:
        await it.add_published([published(1, at=1000.0)])
        now = 6500.0
        await it.add_published([published(2, at=6500.0)])
        assert (await it.totals())[1:] == (1, 6500.0, 6500.0)


async def test_what_others_published_goes_before_what_was_published_here(tmp_path: Path) -> None:
    async with history(tmp_path, max_rows=10) as it:
        await it.add_published([published(number) for number in range(5)])
        await it.add_consumed([consumed(number, at=1900.0) for number in range(3, 100)])
        await it.trim()
        assert [row.file for row in await it.joined()] == [3, 4]
        assert (await it.totals())[:2] == (2, 8)


async def test_a_file_counts_from_when_it_was_published(tmp_path: Path) -> None:
    async with history(tmp_path) as it:
        await it.add_consumed([consumed(1, at=9e9)])
        await it.add_published([published(1, at=1500.0)])
        await it.add_consumed([consumed(1, at=9e9)])
        assert [row.at for row in await it.joined()] == [1500.0]


async def test_where_a_topic_was_read_to_is_kept_with_what_was_read(tmp_path: Path) -> None:
    async with history(tmp_path) as it:
        assert await it.synced("t") == {}
        await it.add_consumed([consumed(1)], synced=[("t", 0, 17), ("t", 2, 3), ("u", 0, 1)])
    async with history(tmp_path) as it:
        assert await it.synced("t") == {0: 17, 2: 3}


def test_a_files_number_says_nothing_without_its_run() -> None:
    assert file_key("a", "x.py") == file_key("a", "x.py")
    assert file_key("a", "x.py") != file_key("b", "x.py")
    assert file_key("a", "x.py") != file_key("a", "y.py")
    assert 0 <= file_key("a", "caf\udce9.py") < 2**63


def test_a_backends_label_does_not_name_it() -> None:
    label = backend_label("minio", "https://storage.internal.example bucket")
    assert label.startswith("minio:")
    assert "example" not in label
    assert label != backend_label("minio", "https://storage.internal.example other")


@pytest.mark.parametrize(
    ("path", "extension"), [("a/b.PY", "py"), ("Makefile", ""), (".env", ""), ("x." + "y" * 40, "y" * 16)]
)
def test_extension(path: str, extension: str) -> None:
    assert extension_of(path) == extension


async def test_an_agent_is_observed_and_analysis_failures_are_not_a_strategys_fault(tmp_path: Path) -> None:
    observer = ConsumeObserver(now=lambda: 1500.0)
    observer(FileResolved("a.py", "inline", 10, 0.1, job="job"))
    observer(FileFailed("p", "a.py", "analysis_failed", "crash", "job"))
    observer(FileFailed("p", "b.py", "content_missing", "gone", "job"))
    async with history(tmp_path) as it:
        await it.add_published([published(file_key("job", path)) for path in ("a.py", "b.py")])
        await observer.flush(it)
        outcomes = {row.file: row.outcome for row in await it.joined()}
    assert outcomes == {file_key("job", "a.py"): "ok", file_key("job", "b.py"): "content_missing"}


async def test_observing_writes_at_intervals_and_keeps_what_could_not_be_written(tmp_path: Path) -> None:
    slept, wake = asyncio.Queue[None](), asyncio.Queue[None]()

    async def sleep(_seconds: float) -> None:
        slept.put_nowait(None)
        await wake.get()

    observer = ConsumeObserver(now=lambda: 1500.0)
    it = history(tmp_path)
    async with observing(observer, it, sleep=sleep):
        await slept.get()
        observer(FileResolved("a.py", "inline", 10, 0.1, job="job"))
        wake.put_nowait(None)
        await slept.get()  # the history was closed: nothing is lost
        with pytest.raises(BackendUnavailable):
            await it.totals()
        await it.__aenter__()
    assert (await it.totals()).waiting == 1
    await it.__aexit__()
