"""What handlers have in common: reading a body, answering, refusing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import ValidationError

from core.safety.display import display
from core.safety.redact import redact
from core.telemetry.health import Report
from core.telemetry.metrics import Metrics

BODY_DEADLINE_S = 30.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Handlers = Mapping[str, Handler]


class Refused(Exception):
    """A request that is not answered: its status and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Served(Protocol):
    """What every server can be asked about."""

    @property
    def metrics(self) -> Metrics: ...
    def alive(self) -> Report: ...
    async def readiness(self) -> Report: ...


def state_handlers(served: Served) -> Handlers:
    """Health, readiness and metrics of whatever is served."""

    async def health(_request: web.Request) -> web.Response:
        return _health_answer(served.alive())

    async def ready(_request: web.Request) -> web.Response:
        return _health_answer(await served.readiness())

    async def metrics(_request: web.Request) -> web.Response:
        text = await asyncio.to_thread(generate_latest, served.metrics.registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    return {"/health": health, "/ready": ready, "/metrics": metrics}


async def read_body(request: web.Request, most: int | None = None) -> bytes:
    """The whole body, at most `most` bytes, else as many as the server takes; `Refused` if it drags on."""
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            if most is None:
                return await request.read()
            body = bytearray()
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > most:
                    raise web.HTTPRequestEntityTooLarge(most, len(body))
            return bytes(body)
    except TimeoutError:
        raise Refused(408, f"the body did not come within {BODY_DEADLINE_S:g} s") from None


def answer(value: Any, status: int = 200) -> web.Response:
    """`value` as JSON."""
    return web.Response(text=json.dumps(value), status=status, content_type="application/json")


def first_line(error: Exception) -> str:
    """What is wrong with a body, without repeating what it holds."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return display(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
    return display(redact(str(error)))


def _health_answer(report: Report) -> web.Response:
    return answer(report.to_json(), 200 if report.ready else 503)
