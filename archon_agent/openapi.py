"""The OpenAPI document of the agent's HTTP server, generated from its routes and models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from archon_agent.http.warming import WarmedEventReport, WarmedRepositoriesReport, WarmRepositories
from core import __version__
from core.events.agent import AgentStatus
from core.events.common import Wire
from core.events.intelligence import BridgeIntelligenceRequest, BridgeIntelligenceResponse
from core.events.v2 import ModelEventIndexProjectRequestedV2
from core.watching.hooks import SIGNATURES


class CheckResult(Wire):
    """A check's last outcome: ok, degraded or failed. `age_s` is how long ago it ended."""

    name: str
    state: str
    required: bool
    detail: str | None = None
    error: str | None = None
    hint: str | None = None
    duration_ms: float
    age_s: float


class Health(Wire):
    """The worst state of all checks; `ready` while nothing that is required has failed."""

    state: str
    ready: bool
    checks: tuple[CheckResult, ...]


class Problem(Wire):
    """Why a request was refused."""

    error: str


class CacheReport(Wire):
    """A cache's figures; sizes are bytes, counters are lifetime."""

    directory: str
    max_bytes: int
    entries: int
    bytes: int
    reserved_bytes: int
    hits: int
    misses: dict[str, int]
    hit_rate: float | None
    uncached: dict[str, int]
    evictions: int
    corruptions: int
    hit_bytes: int
    stored_bytes: int


class PushHook(Wire):
    """What is read of a push hook; the rest is ignored.

    `ref` is a full name, `after` the commit the branch is at, all zeros where it was deleted. Bitbucket sends
    `changes` (Data Center) or `push` (Cloud) in their place.
    """

    ref: str | None = None
    after: str | None = None
    repository: dict[str, Any] | None = None
    project: dict[str, Any] | None = None
    changes: list[dict[str, Any]] | None = None
    push: dict[str, Any] | None = None


class HookAnswer(Wire):
    """What a hook leads to, by project: queued, already ingested, or another branch is watched.

    `ignored` says why no project is named.
    """

    projects: dict[str, str]
    ignored: str | None = None


_MODELS: tuple[type[BaseModel], ...] = (
    AgentStatus,
    BridgeIntelligenceRequest,
    BridgeIntelligenceResponse,
    CacheReport,
    Health,
    HookAnswer,
    ModelEventIndexProjectRequestedV2,
    Problem,
    PushHook,
    WarmRepositories,
    WarmedEventReport,
    WarmedRepositoriesReport,
)

# Path -> (method, summary, request model, answers: status -> (model or media type, what it means)).
# Several models are alternatives.
_Model = type[BaseModel] | tuple[type[BaseModel], ...]
_Answers = dict[int, tuple[_Model | str, str]]
ROUTES: dict[str, tuple[str, str, _Model | None, _Answers]] = {
    "/health": (
        "get",
        "Whether the process is alive.",
        None,
        {200: (Health, "alive"), 503: (Health, "to be started anew")},
    ),
    "/ready": (
        "get",
        "Whether the agent works: its group, its commits, and what it depends on.",
        None,
        {200: (Health, "works"), 503: (Health, "does not, with the reasons")},
    ),
    "/metrics": ("get", "Prometheus metrics.", None, {200: ("text/plain", "the metrics")}),
    "/api/status": ("get", "What this agent does now.", None, {200: (AgentStatus, "its status")}),
    "/api/cache": ("get", "The caches by name.", None, {200: (CacheReport, "figures by cache")}),
    "/api/cache/warm": (
        "post",
        "Fetch the files of a request event, or of whole repositories, ahead of need.",
        (ModelEventIndexProjectRequestedV2, WarmRepositories),
        {200: ((WarmedEventReport, WarmedRepositoriesReport), "what was fetched, and what was not")},
    ),
    "/api/bridge/generate-intelligence": (
        "post",
        "One file's intelligence, from its content or its path on this machine.",
        BridgeIntelligenceRequest,
        {200: (BridgeIntelligenceResponse, "the record, or why there is none")},
    ),
    "/api/hooks/push": (
        "post",
        "A push to a repository: look at its branch now. Served by `archon-agent watch`.",
        PushHook,
        {
            200: (HookAnswer, "genuine, and nothing is to be done"),
            202: (HookAnswer, "genuine; a watched branch will be looked at"),
            503: (Problem, "the secret of watch.hook_secret cannot be read, or too many requests at once"),
        },
    ),
}
SIGNED = {"/api/hooks/push": SIGNATURES}
"""Paths whose requests prove themselves by one of these headers, instead of by a bearer token."""

_REFUSALS: _Answers = {
    400: (Problem, "not the JSON that is expected, or not what the headers say"),
    401: (Problem, "no bearer token, or a wrong one"),
    403: (
        Problem,
        "refused: the server has no token, the Host is not this machine, or a page of another site asks",
    ),
    408: (Problem, "the body did not come in time"),
    413: (Problem, "the body is too large"),
    415: (Problem, "the body is not application/json"),
    503: (Problem, "too many requests at once"),
}


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    _, definitions = models_json_schema(
        [(model, "validation") for model in _MODELS], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "archon agent",
            "version": __version__,
            "description": "Health, metrics, and intelligence on request.",
        },
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                **{name: {"type": "apiKey", "in": "header", "name": name} for name in _signatures()},
            },
        },
        "paths": {path: {route[0]: _operation(path, *route[1:])} for path, route in ROUTES.items()},
    }


def _signatures() -> list[str]:
    return [name for names in SIGNED.values() for name in names]


def _operation(path: str, summary: str, body: _Model | None, answers: _Answers) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": summary}
    if body:
        signed: list[dict[str, list[str]]] = [{name: []} for name in SIGNED.get(path, ())]
        operation["security"] = signed or [{"token": []}, {}]
        operation["requestBody"] = {"required": True, "content": _content(body)}
        answers = _REFUSALS | answers
    operation["responses"] = {
        str(status): {"description": meaning, "content": _content(model, by_name=path == "/api/cache")}
        for status, (model, meaning) in sorted(answers.items())
    }
    return operation


def _content(model: _Model | str, *, by_name: bool = False) -> dict[str, Any]:
    if isinstance(model, str):
        return {model: {"schema": {"type": "string"}}}
    models = model if isinstance(model, tuple) else (model,)
    references = [{"$ref": f"#/components/schemas/{each.__name__}"} for each in models]
    schema: dict[str, Any] = {"oneOf": references} if len(references) > 1 else references[0]
    if by_name:
        schema = {"type": "object", "additionalProperties": schema}
    return {"application/json": {"schema": schema}}
