"""The active model decides real plans and events, and the commands learn it from real runs."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from core.assembly.consuming import consuming
from core.assembly.publishing import backend_labels, ingestion
from core.assembly.source import Target
from core.assembly.stores import open_log
from core.errors import ConfigurationError
from core.events.common import ContentStrategy
from core.events.topics import REQUESTED_V2
from core.history.selection import activate
from core.planner import PlannedFile
from core.settings import Settings, load
from core.strategies.model import Leaf, Model, Trained, Tree, tree_key
from tests.repositories import commit
from tests.subprocesses import child_process

INLINE, OBJECT = ContentStrategy.INLINE, ContentStrategy.OBJECT_STORAGE
FILES = {f"f{number:02}.py": b"x = 1\n" * (10 + number) for number in range(60)}


def settings(home: Path, **more: Any) -> Settings:
    return load({"home": home, "agent.workers": 1, **more}, environ={}).settings


async def make_model(
    configured: Settings, root: Path, inline_s: float, storage_s: float, **rates: float
) -> Model:
    async with ingestion(configured, Target(root)) as job:
        labels = backend_labels(configured, job.context)
    trained = Trained(
        at="2026-01-01", first="2025-12-01", last="2026-01-01", files=200,
        min_files=100, usd_per_hour=configured.selector.usd_per_hour, failure_cost_s=60,
        rates=configured.cost.model_dump() | rates,
    )  # fmt: skip
    costs = {INLINE: inline_s, OBJECT: storage_s}
    trees = {
        tree_key(name, labels[name]): Tree(
            smallest=1,
            largest=10_000,
            kinds=("text",),
            root=Leaf(cost_s=cost, error_s=0.0001, failure=0, files=100),
        )
        for name, cost in costs.items()
    }
    return Model(trained=trained, metrics={}, trees=trees)


async def strategies(configured: Settings, root: Path) -> set[str]:
    async with ingestion(configured, Target(root, force_reindex=True)) as job:
        items = [item async for chunk in job.planner.stream() for item in chunk]
    return {item.strategy for item in items if isinstance(item, PlannedFile)}


async def test_the_active_model_decides_and_the_event_says_so(tmp_path: Path) -> None:
    configured, root = settings(tmp_path / "home"), commit(tmp_path / "r", FILES)
    model = await make_model(configured, root, 0.1, 0.01)
    activate(model, configured)
    async with ingestion(configured, Target(root)) as job:
        summary = await job.publisher.publish(job.planner.stream())
    assert summary.by_strategy.keys() == {OBJECT}
    async with open_log(configured) as log:
        message, *_ = [message async for message in log.browse(REQUESTED_V2)]
    assert json.loads(message.value or b"")["metadata"]["extra"] == {
        "selector": "learned",
        "selector_model": model.id,
        "expected_ms_inline": "100.000",
        "expected_ms_object_storage": "10.000",
    }


async def test_rules_where_the_settings_or_the_rates_say_so(tmp_path: Path) -> None:
    configured, root = settings(tmp_path / "home"), commit(tmp_path / "r", FILES)
    activate(await make_model(configured, root, 0.1, 0.01), configured)
    assert await strategies(configured, root) == {OBJECT}
    assert await strategies(settings(tmp_path / "home", **{"selector.use": "rules"}), root) == {INLINE}
    async with ingestion(settings(tmp_path / "home", **{"cost.put_1000": 7}), Target(root)) as job:
        assert (job.planner.selector.name, job.planner.selector.reason) == (
            "rules",
            "the model was trained at other rates than the settings have",
        )


async def test_a_model_that_was_tampered_with_is_not_used(tmp_path: Path) -> None:
    configured, root = settings(tmp_path / "home"), commit(tmp_path / "r", FILES)
    path = activate(await make_model(configured, root, 0.1, 0.01), configured)
    path.write_text(path.read_text().replace("0.01", "0.02"))
    async with ingestion(configured, Target(root)) as job:
        assert job.planner.selector.name == "rules"
        assert "not the one meant" in (job.planner.selector.reason or "")


async def test_a_model_from_elsewhere_needs_its_digest(tmp_path: Path) -> None:
    configured, root = settings(tmp_path / "home"), commit(tmp_path / "r", FILES)
    model = await make_model(configured, root, 0.1, 0.01)
    (tmp_path / "given.json").write_text(model.to_json())
    given = {"selector.model": tmp_path / "given.json"}
    with pytest.raises(ConfigurationError, match="without its digest"):
        await strategies(settings(tmp_path / "home", **given), root)
    trusted = settings(tmp_path / "home", **given, **{"selector.digest": model.digest})
    assert await strategies(trusted, root) == {OBJECT}


async def run(home: Path, *arguments: str) -> tuple[int, Any]:
    command = (sys.executable, "-m", "archon_agent", *arguments, "--home", str(home), "--json")
    async with child_process(*command, stdout=PIPE, stderr=PIPE) as process:
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out) if out.strip() else err.decode()


@pytest.mark.slow
async def test_the_commands_learn_from_real_runs(tmp_path: Path) -> None:
    home, root = tmp_path / "home", commit(tmp_path / "r", FILES)
    assert (await run(home, "selector", "show"))[0] == 3
    assert (await run(home, "selector", "train"))[0] == 2
    for number in range(4):
        for strategy in (INLINE, OBJECT):
            configured = settings(home, **{"publish.content_strategy": strategy.value})
            target = Target(root, project_name=f"p{number}", force_reindex=True)
            async with ingestion(configured, target) as job:
                await job.publisher.publish(job.planner.stream())
            async with consuming(configured, service=False) as agent:
                await agent.run(drain=True, stop=asyncio.Event())
    code, totals = await run(home, "history", "show")
    assert (code, totals["joined"]) == (0, 480)
    flags = ("--selector-min-files", "50")
    code, judged = await run(home, "selector", "evaluate", *flags)
    assert (code, judged["whole"]["cases"], judged["held_out_files"]) == (0, 60, 144)
    assert judged["whole"]["oracle_s"] <= min(judged["whole"]["rules_s"], judged["whole"]["model_s"])
    code, trained = await run(home, "selector", "train", *flags)
    assert (code == 0) == trained["active"] == (trained["refused"] is None)
    code, shown = await run(home, "selector", "show")
    assert code == (0 if trained["active"] else 3)
    if trained["active"]:
        assert (shown["digest"], len(shown["trees"])) == (trained["digest"], 2)
    code, plan = await run(home, "plan", str(root), "--explain", "--compare")
    assert code == 0
    assert plan["selector"]["model"] == (trained["id"] if trained["active"] else None)
    assert plan["compare"]["files"] == sum(file["strategy"] != file["rules"] for file in plan["files"])
    assert all(file["verdicts"]["inline"]["feasible"] for file in plan["files"])


async def test_plan_explains_and_compares_for_people(tmp_path: Path) -> None:
    home, root = tmp_path / "home", commit(tmp_path / "r", FILES)
    configured = settings(home)
    model = await make_model(configured, root, 0.1, 0.01)
    activate(model, configured)
    arguments = ("plan", str(root), "--home", str(home), "--explain", "--compare")
    command = (sys.executable, "-m", "archon_agent", *arguments)
    async with child_process(*command, stdout=PIPE, env={"COLUMNS": "200", "PATH": ""}) as process:
        out = (await process.communicate())[0].decode()
    assert process.returncode == 0
    assert "f00.py: object_storage, chosen by learned" in out
    assert "expected 100 ms" in out
    assert f"MODEL {model.id}" in out
    assert "60 of 60 files differ: the model's plan takes 5.4 s less and costs $" in out
