"""An agent and its commands as somebody on call meets them: health, metrics, cost, doctor."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from archon_agent.http.agent import agent_handlers
from archon_agent.http.server import serving
from core.assembly.consuming import consuming
from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.settings import Settings, load
from core.settings.http import HttpSettings
from tests.repositories import FILES, commit

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(
        {"home": tmp_path / "home", "agent.workers": 1, "telemetry.per_project": True}, environ={}
    ).settings


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return commit(tmp_path / "shop")


async def publish(settings: Settings, repository: Path) -> None:
    async with ingestion(settings, Target(repository, project_name="shop")) as job:
        await job.publisher.publish(job.planner.stream())


def command(home: Path, *arguments: str, code: int = 0) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARCHON_")}
    environment |= {"ARCHON_HOME": str(home), "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "archon_agent", *arguments], env=environment, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_running_agent_answers_health_readiness_and_metrics(
    settings: Settings, repository: Path
) -> None:
    await publish(settings, repository)
    async with (
        consuming(settings, service=False) as agent,
        serving(agent_handlers(agent), HttpSettings(address="127.0.0.1:0")) as url,
        aiohttp.ClientSession(url) as client,
    ):
        async with client.get("/ready") as answer:
            assert answer.status == 503
            before = {check["name"]: check for check in (await answer.json())["checks"]}
        assert before["group"]["error"] == "has not joined its group yet"
        assert {name for name, check in before.items() if check["state"] == "failed"} == {"group"}
        await agent.run(drain=True, stop=asyncio.Event())
        async with client.get("/health") as answer:
            assert (answer.status, (await answer.json())["state"]) == (200, "ok")
        async with client.get("/metrics") as answer:
            found = samples(await answer.text())
    assert found["archon_ingestion_files_total", "consume", "inline"] == len(FILES)
    assert found["archon_project_files_total", "consume", "shop"] == len(FILES)
    assert found["archon_ingestion_duration_seconds_count", "consume", "inline"] == len(FILES)
    assert found["archon_inflight_messages",] == 0
    assert 0 < found["archon_disk_free_bytes", "data"] <= found["archon_disk_size_bytes", "data"]


async def test_what_a_run_used_is_kept_and_priced(settings: Settings, repository: Path) -> None:
    assert settings.home
    assert json.loads(command(settings.home, "cost", "--json"))["rows"] == []
    await publish(settings, repository)
    async with consuming(settings, service=False) as agent:
        await agent.run(drain=True, stop=asyncio.Event())
        await agent.run(drain=True, stop=asyncio.Event())
    document: dict[str, Any] = json.loads(command(settings.home, "cost", "--by", "strategy", "--json"))
    (row,) = document["rows"]
    assert (row["strategy"], row["published_files"], row["processed_files"]) == (
        "inline",
        len(FILES),
        len(FILES),
    )
    raw = sum(len(content) for content in FILES.values())
    assert row["transferred_bytes"] >= raw
    assert row["cpu_seconds"] > 0
    assert row["transfer_usd"] == pytest.approx(row["transferred_bytes"] / 1e9 * 0.09)
    assert row["compute_usd"] == pytest.approx(row["cpu_seconds"] / 3600 * 0.0405)
    assert document["total"]["once_usd"] == pytest.approx(row["transfer_usd"] + row["compute_usd"])
    dearer = json.loads(command(settings.home, "cost", "--cost-transfer-gb", "9", "--json"))
    assert dearer["total"]["transfer_usd"] == pytest.approx(100 * row["transfer_usd"])


async def test_a_plan_knows_its_cost_once_cpu_time_was_measured(settings: Settings, repository: Path) -> None:
    assert settings.home
    plan = ("plan", str(repository), "--force-reindex", "--json")
    assert json.loads(command(settings.home, *plan))["cost"]["total"]["once_usd"] is None
    await publish(settings, repository)
    async with consuming(settings, service=False) as agent:
        await agent.run(drain=True, stop=asyncio.Event())
    cost = json.loads(command(settings.home, *plan))["cost"]
    assert 0 < cost["total"]["compute_usd"] < cost["total"]["once_usd"]
    assert cost["by_strategy"]["inline"] == cost["total"]


def test_the_doctor_finds_nothing_wrong_with_the_defaults(tmp_path: Path) -> None:
    report = json.loads(command(tmp_path / "home", "doctor", "--json"))
    assert report["ready"]
    assert {check["name"] for check in report["checks"]} >= {
        "log",
        "data disk",
        "cache disk",
        "process pool",
    }
    assert all(check["state"] == "ok" for check in report["checks"])


def test_the_doctor_exits_4_with_a_hint_where_kafka_cannot_be_reached(tmp_path: Path) -> None:
    arguments = ("doctor", "--kafka-servers", "127.0.0.1:1", "--json")
    report = json.loads(command(tmp_path / "home", *arguments, code=4))
    (failed,) = [check for check in report["checks"] if check["state"] == "failed"]
    assert failed["name"] == "log"
    assert "127.0.0.1:1" in failed["error"]
    assert failed["hint"]


def test_a_cost_by_an_unknown_key_is_a_usage_error(tmp_path: Path) -> None:
    command(tmp_path / "home", "cost", "--by", "colour", code=2)
    command(tmp_path / "home", "cost", "--since", "yesterday", code=2)


async def test_the_publishers_metrics_are_left_in_a_textfile(
    settings: Settings, repository: Path, tmp_path: Path
) -> None:
    file = tmp_path / "archon.prom"
    telemetry = settings.telemetry.model_copy(update={"textfile": file})
    await publish(settings.model_copy(update={"telemetry": telemetry}), repository)
    found = samples(file.read_text())
    assert found["archon_ingestion_files_total", "inline", "publish"] == len(FILES)
