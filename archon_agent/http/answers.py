"""What handlers have in common: reading a body, answering, refusing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, TypeVar, runtime_checkable

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import ValidationError

from archon_agent.http.places import Places
from core.safety.display import display
from core.safety.redact import redact
from core.telemetry.health import Report
from core.telemetry.metrics import Metrics

BODY_DEADLINE_S = 30.0
"""Longest time for a body to come, unless the handler says another."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Handlers = Mapping[str, Handler]
Response = TypeVar("Response", bound=web.StreamResponse)


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


@runtime_checkable
class Receiver(Protocol):
    """A connection that is told while a body comes."""

    def receiving(self) -> AbstractContextManager[None]: ...


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


Reading = Places[asyncio.Timeout]
"""Bodies that are being read. One that has to make room for another runs into its deadline at once."""


def readings(most: int) -> Reading:
    """Places for `most` bodies at a time."""
    return Places(most, lambda timeout: not timeout.expired())


async def read_body(
    request: web.Request,
    most: int | None = None,
    *,
    deadline: float | None = None,
    among: Reading | None = None,
) -> bytes:
    """The whole body: at most `most` bytes, by default as many as the server takes, within `deadline` s.

    It takes one of the places `among` which bodies are read. Raises `Refused` for a body that does not come,
    or is not what the headers say.
    """
    seconds = BODY_DEADLINE_S if deadline is None else deadline
    try:
        async with asyncio.timeout(seconds) as timeout:
            with _receiving(request), _place(timeout, request, among):
                if most is None:
                    return await request.read()
                body = bytearray()
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > most:
                        raise web.HTTPRequestEntityTooLarge(most, len(body))
                return bytes(body)
    except TimeoutError:
        raise Refused(408, f"the body did not come within {seconds:g} s") from None
    except (web.RequestPayloadError, ConnectionError):
        raise Refused(400, "the body is not what the headers say") from None


@contextmanager
def _place(timeout: asyncio.Timeout, request: web.Request, among: Reading | None) -> Iterator[None]:
    if among is None:
        yield
        return
    if loser := among.enter(timeout, request.remote or ""):
        loser.reschedule(asyncio.get_running_loop().time())
    try:
        yield
    finally:
        among.leave(timeout)


def _receiving(request: web.Request) -> AbstractContextManager[None]:
    protocol = request.protocol
    return protocol.receiving() if isinstance(protocol, Receiver) else nullcontext()


def harden(response: Response) -> Response:
    """`response` with what every answer has: no version, and no guessing of its type."""
    response.headers["Server"] = "archon"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def answer(value: Any, status: int = 200) -> web.Response:
    """`value` as JSON."""
    return web.Response(text=json.dumps(value), status=status, content_type="application/json")


def first_line(error: Exception) -> str:
    """What is wrong with a body, without repeating what it holds."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        return display(f"{'.'.join(map(str, first['loc']))}: {message}")
    return display(redact(str(error)))


def _health_answer(report: Report) -> web.Response:
    return answer(report.to_json(), 200 if report.ready else 503)
