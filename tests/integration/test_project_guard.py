"""A project belongs to one source, and is not emptied by accident."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from core.assembly.ingesting import ingest
from core.assembly.publishing import allow_deletions, ingestion
from core.assembly.source import Target
from core.deletions import MassDeletionHeld
from core.errors import UsageError
from core.settings import Settings, load
from core.summary import IngestSummary
from tests.repositories import git


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"home": tmp_path / "home", "history.enabled": False}, environ={}).settings


def directory(path: Path, names: Iterable[str] = ("a.py", "b.py", "c.py")) -> Path:
    path.mkdir(parents=True)
    for name in names:
        (path / name).write_text(f"name = {name!r}\n")
    return path


def repository(path: Path, remote: str | None = None) -> Path:
    directory(path)
    git(path, "init", "-q")
    git(path, "add", ".")
    git(path, "commit", "-qm", "first")
    if remote:
        git(path, "remote", "add", "origin", remote)
    return path


async def published(settings: Settings, target: Target) -> IngestSummary:
    summary, _ = await ingest(settings, target, asyncio.Event())
    return summary


async def test_another_directory_of_the_same_name_is_refused_and_nothing_is_deleted(
    settings: Settings, tmp_path: Path
) -> None:
    first, second = directory(tmp_path / "x" / "app"), directory(tmp_path / "y" / "app", ["other.py"])
    await published(settings, Target(first))
    with pytest.raises(UsageError, match="the project app is fed from") as refused:
        await published(settings, Target(second))
    assert refused.value.hint is not None
    assert "--project-name" in refused.value.hint
    assert "--rebind" in refused.value.hint
    assert (await published(settings, Target(first))).files_unchanged == 3
    other = await published(settings, Target(second, project_name="other"))
    assert (other.files_published, other.files_deleted) == (1, 0)


async def test_a_project_that_moved_is_rebound(settings: Settings, tmp_path: Path) -> None:
    await published(settings, Target(directory(tmp_path / "x" / "app")))
    moved = directory(tmp_path / "y" / "app")
    assert (await published(settings, Target(moved, rebind=True))).files_deleted == 0
    with pytest.raises(UsageError, match="fed from"):
        await published(settings, Target(tmp_path / "x" / "app"))


@pytest.mark.parametrize(
    ("remote", "other"),
    [
        ("https://example.org/team/shop.git", "git@example.org:team/shop.git"),
        ("https://user@Example.org:443/team/shop", "ssh://git@example.org/team/shop.git"),
    ],
)
async def test_two_clones_of_one_remote_are_one_project_named_after_it(
    settings: Settings, tmp_path: Path, remote: str, other: str
) -> None:
    first = await published(settings, Target(repository(tmp_path / "one", remote)))
    second = await published(settings, Target(repository(tmp_path / "two", other)))
    assert first.project_name == second.project_name == "team/shop"
    assert second.files_unchanged == 3


async def test_a_project_named_after_its_directory_before_keeps_its_name(
    settings: Settings, tmp_path: Path
) -> None:
    path = repository(tmp_path / "shop")
    assert (await published(settings, Target(path))).project_name == "shop"
    git(path, "remote", "add", "origin", "https://example.org/team/renamed.git")
    again = await published(settings, Target(path))
    assert (again.project_name, again.files_unchanged, again.files_deleted) == ("shop", 3, 0)


async def test_an_empty_directory_deletes_nothing(settings: Settings, tmp_path: Path) -> None:
    path = directory(tmp_path / "app")
    await published(settings, Target(path))
    for file in path.iterdir():
        file.unlink()
    with pytest.raises(UsageError, match="is empty, but app has 3 files"):
        await published(settings, Target(path))
    directory(tmp_path / "again")
    shutil.copytree(tmp_path / "again", path, dirs_exist_ok=True)
    assert (await published(settings, Target(path))).files_unchanged == 3


async def test_a_repository_that_was_made_anew_deletes_nothing(settings: Settings, tmp_path: Path) -> None:
    path = repository(tmp_path / "app")
    await published(settings, Target(path))
    shutil.rmtree(path / ".git")
    git(path, "init", "-q")
    with pytest.raises(MassDeletionHeld, match="3 of the 3 files of app are gone"):
        await published(settings, Target(path))


async def test_a_git_repository_that_became_a_plain_directory_is_refused(
    settings: Settings, tmp_path: Path
) -> None:
    path = repository(tmp_path / "app", "https://example.org/team/app")
    await published(settings, Target(path))
    shutil.rmtree(path / ".git")
    with pytest.raises(UsageError, match="is not one any more"):
        await published(settings, Target(path, project_name="team/app"))


@pytest.mark.parametrize(("removed", "held"), [(12, False), (13, True), (25, True)])
async def test_more_than_half_of_a_project_is_held_back_and_nothing_else_goes(
    settings: Settings, tmp_path: Path, removed: int, held: bool
) -> None:
    names = [f"f{number:02}.py" for number in range(25)]
    path = directory(tmp_path / "app", names)
    await published(settings, Target(path))
    for name in names[:removed]:
        (path / name).unlink()
    (path / "new.py").write_text("new = 1\n")
    if not held:
        assert (await published(settings, Target(path))).files_deleted == removed
        return
    with pytest.raises(MassDeletionHeld) as error:
        await published(settings, Target(path))
    assert error.value.deletions == removed
    with pytest.raises(MassDeletionHeld):
        await published(settings, Target(path, allow_deletions=removed - 1))
    done = await published(settings, Target(path, allow_deletions=removed))
    assert (done.files_published, done.files_deleted) == (1, removed)


async def test_a_share_of_one_lets_all_go(settings: Settings, tmp_path: Path) -> None:
    path = directory(tmp_path / "app", [f"{n}.py" for n in range(30)])
    free = settings.model_copy(update={"publish": settings.publish.model_copy(update={"max_deletions": 1.0})})
    await published(free, Target(path))
    for file in list(path.iterdir())[1:]:
        file.unlink()
    assert (await published(free, Target(path))).files_deleted == 29


async def test_an_allowance_is_for_one_run(settings: Settings, tmp_path: Path) -> None:
    path = directory(tmp_path / "app")
    target = Target(path)
    with pytest.raises(UsageError, match="nothing was published"):
        await allow_deletions(settings, "app")
    await published(settings, target)

    def rename(into: str) -> None:
        for number, file in enumerate(sorted(path.iterdir())):
            file.rename(path / f"{into}{number}.py")

    rename("second")
    await allow_deletions(settings, "app")
    assert (await published(settings, target)).files_deleted == 3
    rename("third")
    with pytest.raises(MassDeletionHeld):
        await published(settings, target)


async def test_force_brings_back_what_was_deleted(settings: Settings, tmp_path: Path) -> None:
    target = Target(directory(tmp_path / "app"))
    await published(settings, target)
    forced = await published(settings, replace(target, force_reindex=True))
    assert forced.files_published == 3


async def test_a_plan_counts_the_deletions(settings: Settings, tmp_path: Path) -> None:
    path = directory(tmp_path / "app")
    await published(settings, Target(path))
    (path / "a.py").unlink()
    async with ingestion(settings, Target(path)) as job:
        assert await job.guard.check(job.context.repository) == 1


def test_the_command_says_what_to_do_and_ends_with_1(tmp_path: Path) -> None:
    path = directory(tmp_path / "app")
    agent = [sys.executable, "-m", "archon_agent", "ingest", str(path), "--home", str(tmp_path / "home")]
    assert subprocess.run(agent, check=False, stdin=subprocess.DEVNULL).returncode == 0
    (path / "a.py").rename(path / "d.py")
    (path / "b.py").unlink()
    (path / "c.py").unlink()
    held = subprocess.run(agent, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert held.returncode == 1
    assert "3 of the 3 files of app are gone" in held.stderr
    assert "--allow-deletions 3" in held.stderr
    done = subprocess.run([*agent, "--allow-deletions", "all"], check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0
