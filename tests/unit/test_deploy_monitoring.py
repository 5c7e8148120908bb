"""Dashboards, rules and runbook name what exists, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from core.telemetry.metrics import Metrics
from deploy.grafana.dashboards import DASHBOARDS
from deploy.grafana.panels import GRID, Panel

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
PROCESS: dict[str, set[str]] = {
    "process_resident_memory_bytes": set(),
    "process_cpu_seconds_total": set(),
    "up": set(),
}
OF_PROMETHEUS = {"job", "instance", "le"}


def rules(name: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "rules" / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = rules("alerts.yml")
RECORDED = {rule["record"] for rule in rules("recording.yml")}


def series() -> dict[str, set[str]]:
    """Every series name that exists, with its labels."""
    found: dict[str, set[str]] = {**PROCESS, **{name: set() for name in RECORDED}}
    for item in Metrics(CollectorRegistry(), per_project=True).definitions:
        suffixes = ("_bucket", "_sum", "_count") if item.kind == "histogram" else ("",)
        for suffix in suffixes:
            found[item.name + suffix] = set(item.labels)
    return found


KNOWN = series()
KNOWN_LABELS = OF_PROMETHEUS.union(*KNOWN.values())


def expressions() -> Iterator[tuple[str, str]]:
    for rule in [*rules("recording.yml"), *ALERTS]:
        yield rule.get("record") or rule["alert"], rule["expr"]
    for dashboard in DASHBOARDS.values():
        for row in dashboard.rows:
            for panel in row.panels:
                for query in panel.queries:
                    yield f"{dashboard.uid}: {panel.title}", query.expr


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_query_names_existing_series_and_labels(where: str, expression: str) -> None:
    bare = re.sub(r'"[^"]*"', '""', expression)
    selectors = re.findall(r"((?:archon|process)[\w:]+|\bup\b)(\{[^}]*\})?", bare)
    assert selectors
    for name, matchers in selectors:
        assert name in KNOWN, f"{where} asks for {name}"
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
            assert label in KNOWN[name] | OF_PROMETHEUS, f"{where}: {name} has no label {label}"
    for group in re.findall(r"\b(?:by|without|on)\s*\(([^)]*)\)", bare):
        for label in filter(None, (part.strip() for part in group.split(","))):
            assert label in KNOWN_LABELS, f"{where} groups by {label}"


def test_every_metric_of_the_checklist_is_on_a_dashboard() -> None:
    shown = " ".join(query.expr for _, query in _panels()) + " ".join(
        rule["expr"] for rule in rules("recording.yml")
    )
    for name in (
        "ingestion_files",
        "ingestion_bytes",
        "ingestion_duration",
        "upload_duration",
        "download_duration",
        "git_clone_duration",
        "cache_hit_rate",
        "cache_size_bytes",
        "cost_usd",
    ):
        assert f"archon_{name}" in shown or f"archon_storage_{name}" in shown, name


def _panels() -> Iterator[tuple[Panel, Any]]:
    for dashboard in DASHBOARDS.values():
        for row in dashboard.rows:
            for panel in row.panels:
                for query in panel.queries:
                    yield panel, query


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_lie_side_by_side_inside_the_grid(name: str) -> None:
    document = DASHBOARDS[name].to_json()
    panels = document["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = sorted((panel["gridPos"]["y"], panel["gridPos"]["x"], panel["gridPos"]) for panel in panels)
    for (_, _, one), (_, _, other) in pairwise(places):
        assert one["x"] + one["w"] <= GRID
        assert one["y"] + one["h"] <= other["y"] or one["x"] + one["w"] <= other["x"]


def test_the_runbook_has_a_section_for_every_alert_and_no_other() -> None:
    text = (ROOT / "docs" / "operations" / "runbook.md").read_text()
    assert set(re.findall(r"^## (Archon\w+)$", text, re.MULTILINE)) == {rule["alert"] for rule in ALERTS}


def test_every_alert_is_tested_firing() -> None:
    tests = yaml.safe_load((PROMETHEUS / "tests" / "alerts.yml").read_text())["tests"]
    fired = {
        case["alertname"] for test in tests for case in test.get("alert_rule_test", ()) if case["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "rules/recording.yml", "rules/alerts.yml"),
        ("test", "rules", "tests/alerts.yml"),
    ],
    ids=" ".join,
)
def test_promtool_is_content(arguments: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("needs promtool (Debian package prometheus)")
    done = subprocess.run([promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
