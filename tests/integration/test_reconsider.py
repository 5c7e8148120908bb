"""A plan made again under other rules, without reading a file, says what a new plan would say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.dry_run import DryRun
from core.events.common import ContentStrategy
from core.planner import PlanItem, PlannedFile
from core.repository.facts import FileFacts, Skip
from core.settings import Settings, load
from tests.repositories import commit

ROOT = Path(__file__).parents[2]
SIZES = {f"f{size:07}.py": b"x = 1  # padding\n" * (size // 17) for size in (0, 17, 50_000, 102_400, 150_000)}


def settings(home: Path, **publish: Any) -> Settings:
    return load(
        {"home": home, **{f"publish.{name}": value for name, value in publish.items()}}, environ={}
    ).settings


def kinds(items: list[PlanItem]) -> dict[str, str]:
    """Path to strategy, or to `skip`."""
    skipped = {item.path: "skip" for item in items if isinstance(item, Skip)}
    return skipped | {item.facts.path: item.strategy for item in items if isinstance(item, PlannedFile)}


async def plan(configured: Settings, target: Target) -> list[PlanItem]:
    async with ingestion(configured, target) as job:
        return [item async for chunk in job.planner.stream() for item in chunk]


@pytest.mark.parametrize("limit", ["10KB", "100KB", "1MB"])
async def test_other_limits_move_the_same_files(tmp_path: Path, limit: str) -> None:
    target = Target(commit(tmp_path / "r", SIZES))
    before = settings(tmp_path / "home", inline_size_limit="60KB")
    after = settings(tmp_path / "home", inline_size_limit=limit)
    async with ingestion(before, target) as job:
        facts = [
            item.facts
            async for chunk in job.planner.stream()
            for item in chunk
            if isinstance(item, PlannedFile)
        ]
    async with ingestion(after, target) as job:
        again: list[PlanItem] = [job.planner.reconsider(each) for each in facts]
    known = {each.path for each in facts}
    fresh = {path: kind for path, kind in kinds(await plan(after, target)).items() if path in known}
    assert kinds(again) == fresh


async def test_the_estimate_is_near_the_encoded_size(tmp_path: Path) -> None:
    """On this repository's own source, all text together: within a tenth."""
    async with ingestion(settings(tmp_path / "home"), Target(ROOT / "core")) as job:
        planned = [
            item
            async for chunk in job.planner.stream()
            for item in chunk
            if isinstance(item, PlannedFile) and item.encoded
        ]
        estimated = [job.planner.reconsider(item.facts) for item in planned]
    exact = sum(item.encoded_size for item in planned)
    guessed = sum(item.encoded_size for item in estimated if isinstance(item, PlannedFile))
    assert guessed == pytest.approx(exact, rel=0.1)


async def test_a_known_size_is_kept(tmp_path: Path) -> None:
    async with ingestion(settings(tmp_path / "home"), Target(commit(tmp_path / "r"))) as job:
        facts: list[FileFacts] = [
            item.facts
            async for chunk in job.planner.stream()
            for item in chunk
            if isinstance(item, PlannedFile)
        ]
        again = job.planner.reconsider(facts[0], encoded_size=4321, unchanged=True)
    assert isinstance(again, PlannedFile)
    assert (again.encoded_size, again.unchanged) == (4321, True)


async def test_a_dry_run_counts_as_it_goes(tmp_path: Path) -> None:
    async with ingestion(settings(tmp_path / "home", batch_size=2), Target(commit(tmp_path / "r"))) as job:
        run = DryRun(job.project_name, job.rules)
        async for chunk in job.planner.stream():
            run.take(chunk)
        assert run.summary.files_discovered == 7
        full = run.summary.batches
        assert 0 < full < run.finish().batches
        assert run.summary.files_published == 7


async def test_a_file_nothing_can_carry_keeps_its_facts_for_the_next_rules(tmp_path: Path) -> None:
    target = Target(
        commit(tmp_path / "r", {"big.py": b"#" * 2000}),
        without={ContentStrategy.INLINE, ContentStrategy.OBJECT_STORAGE, ContentStrategy.GIT_REFERENCE},
    )
    (skip,) = await plan(settings(tmp_path / "home"), target)
    assert isinstance(skip, Skip)
    assert skip.facts is not None
    async with ingestion(settings(tmp_path / "home"), replace(target, without=())) as job:
        again = job.planner.reconsider(skip.facts)
        assert job.planner.selector.name == "rules"
        assert ContentStrategy.INLINE in job.planner.strategies
    assert isinstance(again, PlannedFile)
    assert again.strategy is ContentStrategy.INLINE
