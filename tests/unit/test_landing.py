"""A download lands whole, in memory or on disk, whatever the disks say; an abandoned one leaves nothing."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.cache.counted import CountedCache
from core.cache.disk import DiskCache, Writer
from core.cache.index import NoRoom
from core.errors import BackendUnavailable, ChecksumMismatch, ContentTooLarge
from core.fetchers.base import HELD_LIMIT
from core.fetchers.landing import Landing

LARGE = os.urandom(1 << 20) * 8 + b"and a little more than is held"


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CountedCache]:
    opened = CountedCache(DiskCache(tmp_path / "cache", 64 << 20))
    opened.open()
    yield opened
    opened.close()


def landing(content: bytes, cache: CountedCache | None, spill: Path) -> Landing:
    return Landing(hashlib.sha256(content).hexdigest(), len(content), cache, spill)


def spilled(directory: Path) -> list[Path]:
    return list(directory.glob("archon-*"))


async def pour(target: Landing, content: bytes) -> None:
    for start in range(0, len(content), 1 << 18):
        await target.write(content[start : start + (1 << 18)])


@pytest.mark.parametrize("kept", [True, False])
async def test_a_large_content_ends_on_disk(cache: CountedCache, tmp_path: Path, kept: bool) -> None:
    assert len(LARGE) > HELD_LIMIT
    target = landing(LARGE, cache if kept else None, tmp_path)
    await pour(target, LARGE)
    found = await target.finish()
    assert found.whole
    assert found.whole.path.read_bytes() == LARGE
    assert found.whole.path.is_relative_to(tmp_path / "cache") is kept


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("wrong", [LARGE[:-1], LARGE[:-1] + b"?"], ids=["short", "other"])
async def test_wrong_bytes_are_told_and_leave_nothing(
    cache: CountedCache, tmp_path: Path, kept: bool, wrong: bytes
) -> None:
    target = landing(LARGE, cache if kept else None, tmp_path)
    await pour(target, wrong)
    with pytest.raises(ChecksumMismatch):
        await target.finish()
    await target.abandon()
    assert not spilled(tmp_path)
    assert cache.stats().reserved_bytes == 0


@pytest.mark.parametrize("kept", [True, False])
async def test_an_abandoned_download_gives_everything_back(
    cache: CountedCache, tmp_path: Path, kept: bool
) -> None:
    target = landing(LARGE, cache if kept else None, tmp_path)
    await pour(target, LARGE[: 3 << 20])
    await target.abandon()
    await target.abandon()
    assert not spilled(tmp_path)
    assert cache.stats().reserved_bytes == 0


async def test_no_more_than_expected_is_taken(tmp_path: Path) -> None:
    target = landing(b"four", None, tmp_path)
    await target.write(b"four")
    with pytest.raises(ContentTooLarge):
        await target.write(b"!")


async def test_a_cache_disk_that_fills_midway_asks_for_another_attempt(
    cache: CountedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Writer, block: bytes) -> None:
        raise NoRoom("the cache's disk refuses: No space left on device", "disk_full")

    monkeypatch.setattr(Writer, "write", full)
    target = landing(LARGE, cache, tmp_path)
    with pytest.raises(BackendUnavailable, match="No space left") as caught:
        await pour(target, LARGE)
    assert "cache.dir" in (caught.value.hint or "")
    await target.abandon()
    assert "No space left" in (cache.trouble or "")
    small = landing(b"small", cache, tmp_path)
    await small.write(b"small")
    assert (await small.finish()).content == b"small"


async def test_a_cache_that_refuses_at_the_end_asks_for_another_attempt(
    cache: CountedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Writer) -> Any:
        self.abort()
        raise NoRoom("the cache's disk refuses: Input/output error", "disk_error")

    monkeypatch.setattr(Writer, "commit", refuse)
    target = landing(LARGE, cache, tmp_path)
    await pour(target, LARGE)
    with pytest.raises(BackendUnavailable, match="Input/output error"):
        await target.finish()


async def test_no_disk_at_all_is_told(tmp_path: Path) -> None:
    target = landing(LARGE, None, tmp_path / "missing")
    with pytest.raises(BackendUnavailable, match="no disk takes a large content"):
        await pour(target, LARGE)


async def test_a_spill_disk_that_fills_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = landing(LARGE, None, tmp_path)
    await pour(target, LARGE[: 1 << 20])

    def full(_block: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert target._sink
    monkeypatch.setattr(target._sink, "_file", type("Full", (), {"write": full, "close": lambda: None}))
    with pytest.raises(BackendUnavailable, match="No space left"):
        await pour(target, LARGE[1 << 20 :])
    await target.abandon()
