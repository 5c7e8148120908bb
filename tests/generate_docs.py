"""Writes the documents that come from code: `make docs`. A test fails when one is stale."""

from __future__ import annotations

import json
from pathlib import Path

from prometheus_client import CollectorRegistry

from archon_agent import openapi
from archon_tui import reference
from core.events.schema import documents
from core.fallbacks import table
from core.settings.model import options
from core.telemetry.metrics import Metrics
from deploy.grafana.dashboards import DASHBOARDS
from tests.cost_page import cost_page

ROOT = Path(__file__).parents[1]


def generated() -> dict[Path, str]:
    """Path below the repository's root -> the text it should have."""
    files = {
        Path("docs/events") / (f"{name}.json" if name == "asyncapi" else f"{name}.schema.json"): _json(
            document
        )
        for name, document in documents().items()
    }
    files[Path("docs/dashboard-keys.md")] = reference.markdown()
    files[Path("docs/configuration.md")] = _configuration()
    files[Path("docs/fallbacks.md")] = _fallbacks()
    files[Path("docs/openapi.json")] = _json(openapi.document())
    files[Path("docs/operations/metrics.md")] = _metrics()
    files[Path("docs/operations/cost.md")] = cost_page()
    for name, dashboard in DASHBOARDS.items():
        files[Path("deploy/grafana/dashboards") / f"{name}.json"] = _json(dashboard.to_json())
    return files


def _json(document: object) -> str:
    return json.dumps(document, indent=2) + "\n"


def _configuration() -> str:
    lines = [
        "# Settings",
        "",
        "Generated from the settings model by `make docs`.",
        "A flag beats the environment, the environment beats `archon.toml`, that beats the default.",
        "The file is `--config` or `$ARCHON_CONFIG`, else `archon.toml` in `$ARCHON_HOME` or the user's",
        "configuration directory. Sizes: 1 KB is 1,024 bytes.",
        "`archon-agent config show` prints each value and where it comes from. Settings in bold stand in a",
        "command's `--help`, all of them in its `--help-all`.",
        "",
        "| archon.toml | flag | environment | default | |",
        "|---|---|---|---|---|",
    ]
    for item in options():
        default = "" if item.default is None else f"`{item.default}`"
        environment = ", ".join(f"`{name}`" for name in item.env)
        key = f"**`{item.key}`**" if item.common else f"`{item.key}`"
        lines.append(f"| {key} | `{item.flag}` | {environment} | {default} | {item.help} |")
    return "\n".join(lines) + "\n"


def _metrics() -> str:
    lines = [
        "# Metrics",
        "",
        "Generated from the registry by `make docs`. Agents serve them at `/metrics`; a publisher, which",
        "ends by itself, writes them to `telemetry.textfile` or pushes them to `telemetry.pushgateway`.",
        "",
        "Labels take their values from the code and the settings only. Projects are told apart where",
        "`telemetry.per_project` is on, for at most 1,000 of them; the rest is counted as `(others)`.",
        "Python's `process_*` and `python_*` metrics are served beside these.",
        "",
        "| metric | type | unit | labels | |",
        "|---|---|---|---|---|",
    ]
    for item in Metrics(CollectorRegistry(), per_project=True).definitions:
        labels = ", ".join(f"`{label}`" for label in item.labels)
        lines.append(f"| `{item.name}` | {item.kind} | {item.unit} | {labels} | {item.help} |")
    return "\n".join(lines) + "\n"


def _fallbacks() -> str:
    lines = [
        "# Fallbacks",
        "",
        "Generated from `core/fallbacks.py`, which the publisher and the agent go by, by `make docs`.",
        "A stand-in is used only where it can have the file: a strategy that the plan found feasible, a",
        "source for which the event carries what it needs. What it yields is verified like the first choice.",
        "",
        "| side | strategy or source | what goes wrong | cause | first | then | without a stand-in |",
        "|---|---|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in table()),
        "",
        "Object storage stands in for Git where the event carries the checksum, which names the object: not",
        "for a file over the inline limit that Git was to carry, since the publisher never read it whole.",
        "",
        "A circuit breaker per storage bucket and Git host (`breaker.failures`, `breaker.pause`) leaves a",
        "backend alone that fails, and lets one call probe it after a while. Meanwhile stand-ins are used",
        "at once; at the agent a file that has none waits for the backend, `agent.file_deadline` at most,",
        "before it is dead-lettered.",
        "",
        "Every fallback counts by its cause, in the summary (`fallbacks`) and `archon_fallbacks_total`, and",
        "is logged as `fallback WANTED -> USED: CAUSE`.",
        "Breakers show in `archon_circuit_breakers_tripped`, `archon_circuit_breaker_trips_total`, the log",
        "and the health check `circuit breakers`.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write every generated document."""
    for path, text in generated().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
