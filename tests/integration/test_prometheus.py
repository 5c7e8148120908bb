"""A real Prometheus scrapes a real agent and watcher; archon's rules and dashboards' queries are answered."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from archon_agent.http.agent import agent_handlers
from archon_agent.http.server import serving
from archon_agent.http.watch import watch_handlers
from core.assembly.consuming import consuming
from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.settings import Settings, load
from core.settings.http import HttpSettings
from deploy.grafana.dashboards import DASHBOARDS
from tests import watching
from tests.bare_repositories import BareRepository
from tests.repositories import FILES, commit
from tests.servers.git_http import GitHttpServer
from tests.servers.ports import free_port
from tests.servers.process import ServerProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules"
# Queries about what these did not do: fail, fall back, use a cache or a backend, receive a push hook.
QUIET = (
    "fallbacks",
    "retries",
    "breaker",
    "cache",
    "dead_letters_total[5m]",
    "failed_files_total[5m]",
    "failures_in_a_row",
    "hooks_total",
)


def is_quiet(expression: str) -> bool:
    """Whether it asks for what did not happen here."""
    return any(word in expression for word in QUIET)


class Prometheus:
    """A running server."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def get(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self._url}/{path}?{query}", timeout=10) as answer:  # noqa: S310 - http
            document = json.load(answer)
        assert document["status"] == "success", document
        return document["data"]

    def values(self, expression: str) -> list[float]:
        """The present values of an expression's series."""
        result = self.get("query", query=expression)["result"]
        return [float(item["value"][1]) for item in result]

    def is_up(self) -> bool:
        try:
            return bool(self.values("vector(1)"))
        except OSError:
            return False

    def ask_until_answered(self, expressions: list[str], patience_s: float) -> list[str]:
        """The expressions that have no value by then; rates have one from the second scrape on."""
        deadline = time.monotonic() + patience_s
        waiting = expressions
        while waiting and time.monotonic() < deadline:
            waiting = [expression for expression in waiting if not self.values(expression)]
            if all(is_quiet(expression) for expression in waiting):
                break
            time.sleep(0.5)
        return waiting


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    flags = {"home": tmp_path / "home", "agent.workers": 1, "telemetry.per_project": True}
    return load(flags, environ={}).settings


@asynccontextmanager
async def agent_at(settings: Settings, port: int) -> AsyncIterator[None]:
    """An agent that consumes until the end, serving HTTP."""
    stop = asyncio.Event()
    async with (
        consuming(settings) as agent,
        serving(agent_handlers(agent), HttpSettings(address=f"127.0.0.1:{port}")),
    ):
        running = asyncio.create_task(agent.run(drain=False, stop=stop))
        try:
            yield
        finally:
            stop.set()
            await running


@asynccontextmanager
async def watcher_at(directory: Path, port: int) -> AsyncIterator[None]:
    """A watcher that has ingested one branch, serving HTTP."""
    (directory / "served").mkdir(parents=True)
    BareRepository(directory / "served" / "lib.git").commit({"a.py": b"x = 1\n"})
    configured = watching.settings(directory / "home")
    with GitHttpServer(directory / "served") as host:
        async with (
            watching.running(configured, watching.watched(configured, host.url("lib.git"))) as watch,
            serving(watch_handlers(watch.service), HttpSettings(address=f"127.0.0.1:{port}")),
        ):
            assert (await watch.next()).outcome is watching.Outcome.INGESTED
            yield


@pytest.fixture
def agent_port() -> int:
    return free_port()


@pytest.fixture
def watcher_port() -> int:
    return free_port()


@pytest.fixture
def prometheus(tmp_path: Path, agent_port: int, watcher_port: int) -> Iterator[Prometheus]:
    program = shutil.which("prometheus")
    if not program:
        pytest.skip("needs prometheus (Debian package prometheus)")
    (rules := tmp_path / "rules").mkdir()
    for file in RULES.glob("*.yml"):
        document = yaml.safe_load(file.read_text())
        for group in document["groups"]:
            group["interval"] = "1s"
        (rules / file.name).write_text(yaml.safe_dump(document))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [f"{rules}/*.yml"],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
            for job, target in (("archon-agent", agent_port), ("archon-watch", watcher_port))
        ],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    flags = (
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    server = Prometheus(port)
    with ServerProcess([program, *flags], tmp_path / "prometheus.log") as process:
        process.wait_until(server.is_up)
        yield server


def queries() -> list[str]:
    return [
        query.expr
        for dashboard in DASHBOARDS.values()
        for row in dashboard.rows
        for panel in row.panels
        for query in panel.queries
    ]


async def test_dashboards_are_answered_from_what_is_scraped(
    settings: Settings, agent_port: int, watcher_port: int, prometheus: Prometheus, tmp_path: Path
) -> None:
    repository = commit(tmp_path / "shop")
    async with ingestion(settings, Target(repository, project_name="shop")) as job:
        await job.publisher.publish(job.planner.stream())
    files = 'sum(archon_ingestion_files_total{side="consume"})'
    async with agent_at(settings, agent_port), watcher_at(tmp_path / "watch", watcher_port):
        open_questions = await asyncio.to_thread(prometheus.ask_until_answered, queries(), 60.0)
        assert [question for question in open_questions if not is_quiet(question)] == []
        settled = [
            f"{files} == {len(FILES)}",
            f'sum(archon_project_files_total{{project="shop"}}) == {len(FILES)}',
            "sum(archon:consumer_lag_messages:sum) == 0",
        ]
        assert await asyncio.to_thread(prometheus.ask_until_answered, settled, 60.0) == []
    groups = prometheus.get("rules")["groups"]
    sick = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"]
    assert sick == []
    firing = {
        alert["labels"]["alertname"]
        for alert in prometheus.get("alerts")["alerts"]
        if alert["state"] == "firing"
    }
    assert firing == set()
