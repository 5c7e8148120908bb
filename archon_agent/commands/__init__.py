"""The commands of `archon-agent`, one module each, imported when named."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Panel of the help -> command -> what it does. Each command is a module here that holds it as `app`.
PANELS: dict[str, dict[str, str]] = {
    "Deliver": {
        "plan": "Show what an ingestion would publish, file by file.",
        "ingest": "Publish the files of a repository that changed since its last ingestion.",
        "run": "Consume requests and make records, until stopped.",
        "watch": "Ingest branches on Git hosts whenever they move.",
    },
    "Look": {
        "results": "Show the records of the local index.",
        "search": "Find words in paths and symbol names.",
    },
    "Operate": {
        "lag": "Show how far a consumer group is behind, and why.",
        "status": "Show the agents at work.",
        "dlq": "List, show, redrive and purge dead letters.",
        "cost": "Show what ingestion cost.",
        "history": "Show and prune the history of how files were delivered.",
        "cache": "Inspect, fill, verify and empty the caches.",
    },
    "Set up": {
        "doctor": "Check everything that the settings need.",
        "topics": "Create and check the topics on Kafka.",
        "storage": "Set up, check and clean the object storage.",
        "selector": "Train and choose the model that picks strategies.",
        "config": "Show the settings and where each comes from.",
        "schema": "Print the JSON Schema or AsyncAPI documents of the events.",
        "demo": "Ingest a repository and analyse it, all on this machine.",
    },
}
COMMANDS: dict[str, str] = {name: text for panel in PANELS.values() for name, text in panel.items()}


def load(name: str) -> Any:
    """The typer app of a command."""
    return import_module(f"archon_agent.commands.{name}").app
