"""Garbage is what no event within the retention needs and what is old enough to be nobody's work."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.storage.garbage import GarbageRules, collect
from core.storage.local import LocalStorageClient

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
RULES = GarbageRules(NOW, timedelta(days=30), timedelta(hours=48))


async def put(storage: LocalStorageClient, letter: str, age: timedelta, key: str | None = None) -> str:
    key = key or f"projects/demo/{letter * 64}.txt"
    await storage.upload_bytes(
        key, b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "text/plain"
    )
    when = (NOW - age).timestamp()
    path = storage.local_path(key)
    assert path
    os.utime(path, (when, when))
    return key


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorageClient:
    return LocalStorageClient(tmp_path)


async def left(storage: LocalStorageClient) -> set[str]:
    return {item.key async for item in storage.list("projects/")}


async def test_what_stays_and_what_goes(storage: LocalStorageClient) -> None:
    needed = await put(storage, "a", timedelta(days=20))
    needed_once = await put(storage, "b", timedelta(days=40))
    young = await put(storage, "c", timedelta(hours=47))
    orphan = await put(storage, "d", timedelta(hours=49))
    foreign = await put(storage, "", timedelta(days=99), "projects/somebody/elses.txt")
    references = RULES.newest_references(
        [
            (needed, NOW - timedelta(days=29)),
            (needed_once, NOW - timedelta(days=31)),
            (needed_once, NOW - timedelta(days=30)),
        ]
    )
    report = await collect(storage, references, RULES, remove=False)
    assert await left(storage) == {needed, needed_once, young, orphan, foreign}
    assert (report.objects, report.referenced, report.young, report.foreign) == (5, 1, 1, 1)
    assert (report.garbage, report.removed) == (2, 0)
    assert set(report.sample) == {needed_once, orphan}

    report = await collect(storage, references, RULES, remove=True)
    assert report.removed == 2
    assert await left(storage) == {needed, young, foreign}


def test_the_newest_reference_counts() -> None:
    recent = NOW - timedelta(days=1)
    found = RULES.newest_references(
        [("k", recent), ("k", NOW - timedelta(days=29)), ("gone", NOW - timedelta(days=31))]
    )
    assert found == {"k": recent}


async def test_what_crashed_uploads_left_goes_by_age(storage: LocalStorageClient, tmp_path: Path) -> None:
    await put(storage, "a", timedelta(days=1))
    partial = tmp_path / ".partial"
    for name, age in (("old", timedelta(hours=49)), ("new", timedelta(hours=1))):
        (partial / name).write_bytes(b"half")
        when = (NOW - age).timestamp()
        os.utime(partial / name, (when, when))
    assert (await collect(storage, {}, RULES, remove=True)).unfinished == 1
    assert [path.name for path in partial.iterdir()] == ["new"]
