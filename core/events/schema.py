"""JSON Schema (2020-12) and AsyncAPI 3 documents, generated from the models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from core import __version__
from core.events import topics
from core.events.intelligence import (
    BridgeIntelligenceRequest,
    BridgeIntelligenceResponse,
    FileIntelligenceGenerated,
)
from core.events.outcome import IndexProjectCompleted, IndexProjectFailed
from core.events.v1 import ModelEventIndexProjectRequestedV1
from core.events.v2 import ModelEventIndexProjectRequestedV2

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

# Document name -> (topic, model, what the event says).
EVENTS: dict[str, tuple[str, type[BaseModel], str]] = {
    "index-project-requested.v1": (
        topics.REQUESTED_V1,
        ModelEventIndexProjectRequestedV1,
        "A batch of files to index, by path or with contents; read, never written.",
    ),
    "index-project-requested.v2": (
        topics.REQUESTED_V2,
        ModelEventIndexProjectRequestedV2,
        "A batch of files to index, each by one of three content strategies.",
    ),
    "index-project-completed.v1": (
        topics.COMPLETED,
        IndexProjectCompleted,
        "A batch was processed; with counts.",
    ),
    "index-project-failed.v1": (
        topics.FAILED,
        IndexProjectFailed,
        "A batch yielded nothing; with the reason.",
    ),
    "file-intelligence-generated.v1": (
        topics.FILE_INTELLIGENCE,
        FileIntelligenceGenerated,
        "The intelligence record of one file, keyed by project and path.",
    ),
}
_BRIDGE: dict[str, type[BaseModel]] = {
    "bridge-intelligence-request": BridgeIntelligenceRequest,
    "bridge-intelligence-response": BridgeIntelligenceResponse,
}


def documents() -> dict[str, dict[str, Any]]:
    """Every document by name: a JSON Schema per event and bridge message, and `asyncapi`."""
    models = {name: model for name, (_, model, _) in EVENTS.items()} | _BRIDGE
    schemas = {name: _schema(model) for name, model in models.items()}
    return {**schemas, "asyncapi": _asyncapi()}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {"$schema": _DIALECT, **model.model_json_schema()}


def _asyncapi() -> dict[str, Any]:
    """AsyncAPI 3.0: agents receive requests and send everything else; dead letters stand beside requests."""
    requests = {name for name, (topic, _, _) in EVENTS.items() if topic in topics.REQUEST_TOPICS}
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for name, (topic, _, text) in EVENTS.items():
        channels[name] = {
            "address": topic,
            "description": text,
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        }
        operations[f"{'receive' if name in requests else 'send'}-{name}"] = {
            "action": "receive" if name in requests else "send",
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        }
    for name in sorted(requests):
        topic = EVENTS[name][0]
        channels[f"{name}.dlq"] = {
            "address": topics.dead_letter_topic(topic),
            "description": "Requests that could not be processed, byte for byte, with the reason in headers.",
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "archon events", "version": __version__},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {
                name: {
                    "name": name,
                    "summary": text,
                    "payload": {
                        "schemaFormat": "application/schema+json;version=draft-2020-12",
                        "schema": {"$ref": f"./{name}.schema.json"},
                    },
                }
                for name, (_, _, text) in EVENTS.items()
            }
        },
    }
