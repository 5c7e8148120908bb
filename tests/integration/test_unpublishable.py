"""A file that cannot be published any more leaves no old record behind, or one that is said to be old."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from core.assembly.ingesting import ingest
from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.assembly.stores import open_log
from core.dry_run import dry_run
from core.events.codec import decode_request
from core.events.topics import REQUESTED_V2
from core.settings import Settings, load
from core.summary import IngestSummary
from tests.repositories import git

LARGE = "x = 1\n" * 100


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    (root / "tests").mkdir(parents=True)
    for name in ("a.py", "b.py", "tests/test_a.py"):
        (root / name).write_text("x = 1\n")
    return root


def settings(tmp_path: Path, **values: Any) -> Settings:
    given = {"home": tmp_path / "home", "storage.provider": "none", "publish.inline_size_limit": 100}
    return load({**given, **values}, environ={}).settings


def _enlarge(root: Path) -> None:
    for path in list(root.rglob("*.py")):
        path.write_text(LARGE)


async def published(settings: Settings, target: Target) -> IngestSummary:
    summary, _ = await ingest(settings, target, asyncio.Event())
    return summary


async def deleted(settings: Settings) -> list[str]:
    async with open_log(settings) as log:
        requests = [decode_request(message.value or b"") async for message in log.browse(REQUESTED_V2)]
    return [path for request in requests for path in request.deleted_files]


async def test_a_file_that_grew_too_large_is_deleted_and_comes_back(root: Path, tmp_path: Path) -> None:
    configured = settings(tmp_path)
    await published(configured, Target(root))
    (root / "a.py").write_text(LARGE)
    async with ingestion(configured, Target(root)) as job:
        planned = await dry_run(job.planner.stream(), job.project_name, job.rules)
        assert await job.guard.unpublishable(planned.skipped) == 1
    summary = await published(configured, Target(root))
    assert (summary.files_deleted, summary.files_stale, len(summary.faults)) == (1, 0, 1)
    assert await deleted(configured) == ["a.py"]
    assert (await published(configured, Target(root))).files_deleted == 0
    (root / "a.py").write_text("x = 2\n")
    assert (await published(configured, Target(root))).files_published == 1


async def test_a_file_that_became_an_lfs_pointer_is_deleted(root: Path, tmp_path: Path) -> None:
    configured = settings(tmp_path, **{"publish.inline_size_limit": 1000})
    await published(configured, Target(root))
    oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12345\n"
    (root / "a.py").write_text(pointer)
    assert (await published(configured, Target(root))).files_deleted == 1
    assert await deleted(configured) == ["a.py"]


async def test_a_backend_that_fails_deletes_nothing_and_the_record_counts_as_stale(
    root: Path, tmp_path: Path
) -> None:
    await published(settings(tmp_path), Target(root))
    (root / "a.py").write_text(LARGE)
    (tmp_path / "objects").write_text("a file where the store should be")
    storage = {"storage.provider": "local", "storage.directory": tmp_path / "objects"}
    failing = settings(tmp_path, **storage)
    summary = await published(failing, Target(root))
    assert (summary.files_deleted, summary.files_stale) == (0, 1)
    assert summary.to_json()["files_stale"] == 1
    (tmp_path / "objects").unlink()
    mended = await published(failing, Target(root))
    assert (mended.files_published, mended.files_stale) == (1, 0)


async def test_most_of_a_project_is_deleted_only_with_leave(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(30):
        (root / f"{number}.py").write_text(f"x = {number}\n")
    await published(settings(tmp_path), Target(root))
    _enlarge(root)
    tight = settings(tmp_path)
    with caplog.at_level(logging.WARNING, "core.deletions"):
        held = await published(tight, Target(root))
    assert (held.files_deleted, held.files_stale) == (0, 33)
    assert "--allow-deletions 33" in caplog.text
    assert (await published(tight, Target(root, allow_deletions=33))).files_deleted == 33


async def test_a_change_that_is_not_pushed_yet_deletes_nothing(root: Path, tmp_path: Path) -> None:
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    git(root, "remote", "add", "origin", "https://example.org/team/app.git")
    git(root, "update-ref", "refs/remotes/origin/main", "HEAD")
    configured = settings(tmp_path)
    assert (await published(configured, Target(root))).files_published == 3
    (root / "a.py").write_text(LARGE)
    git(root, "commit", "-qam", "not pushed")
    summary = await published(configured, Target(root))
    assert (summary.files_deleted, summary.files_stale) == (0, 1)
