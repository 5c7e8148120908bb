"""Grafana's dashboard JSON from few words: rows of panels, laid out on its grid of 24 columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

GRID = 24
HEIGHT = 8
SCHEMA_VERSION = 39  # Grafana 11
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression and how its series are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel. `unit` is one of Grafana's; `steps` are (value, colour) thresholds above green."""

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: str = "timeseries"
    help: str = ""
    steps: Sequence[tuple[float, str]] = ()
    stacked: bool = False

    def to_json(self, number: int, x: int, y: int, width: int) -> dict[str, Any]:
        """The panel at its place on the grid."""
        custom: dict[str, Any] = {}
        if self.kind == "timeseries":
            custom = {"fillOpacity": 10, "showPoints": "never", "stacking": {"mode": "normal"}}
            if not self.stacked:
                custom["stacking"] = {"mode": "none"}
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.help,
            "datasource": DATASOURCE,
            "gridPos": {"h": HEIGHT if self.kind != "stat" else HEIGHT // 2, "w": width, "x": x, "y": y},
            "targets": [
                {
                    "refId": chr(ord("A") + index),
                    "datasource": DATASOURCE,
                    "expr": query.expr,
                    "legendFormat": query.legend or "__auto",
                    "instant": self.kind != "timeseries",
                    "range": self.kind == "timeseries",
                    "format": "table" if self.kind == "table" else "time_series",
                }
                for index, query in enumerate(self.queries)
            ],
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit,
                    "min": 0,
                    "custom": custom,
                    "thresholds": {
                        "mode": "absolute",
                        "steps": [
                            {"color": "green", "value": None},
                            *({"color": colour, "value": value} for value, colour in self.steps),
                        ],
                    },
                },
                "overrides": [],
            },
            "options": {
                "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]}
            }
            if self.kind == "timeseries"
            else {},
        }


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side, under a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A whole dashboard; `uid` is part of its address."""

    uid: str
    title: str
    rows: Sequence[Row]
    tags: Sequence[str] = ("archon",)
    links: Sequence[str] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        """What Grafana provisions."""
        panels: list[dict[str, Any]] = []
        y = 0
        for row in self.rows:
            heading = {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "panels": [],
            }
            panels.append({**heading, "gridPos": {"h": 1, "w": GRID, "x": 0, "y": y}})
            y += 1
            width = GRID // len(row.panels)
            made = [
                panel.to_json(len(panels) + 1 + index, index * width, y, width)
                for index, panel in enumerate(row.panels)
            ]
            panels += made
            y += max(panel["gridPos"]["h"] for panel in made)
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": list(self.tags),
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "templating": {
                "list": [
                    {
                        "name": "datasource",
                        "label": "Prometheus",
                        "type": "datasource",
                        "query": "prometheus",
                        "current": {},
                        "hide": 0,
                    }
                ]
            },
            "links": [
                {"title": title, "type": "dashboards", "tags": list(self.tags), "asDropdown": False}
                for title in self.links
            ],
            "panels": panels,
        }
