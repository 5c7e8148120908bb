"""The agent's HTTP server: health, metrics, status, and intelligence on request."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import ValidationError

from archon_agent import openapi
from core.agent import Agent
from core.errors import ConfigurationError, InvalidEvent
from core.events.codec import decode_request, from_json, to_json
from core.events.intelligence import BridgeIntelligenceRequest
from core.safety.display import display
from core.safety.redact import redact
from core.settings.http import HttpSettings
from core.settings.secret import read_secret
from core.telemetry.health import Report

BODY_DEADLINE_S = 30.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(Exception):
    """A request that is not answered: its status and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@asynccontextmanager
async def serving(agent: Agent, settings: HttpSettings) -> AsyncIterator[str | None]:
    """Serve while inside; gives the URL, or None where no address is set. Raises `ConfigurationError`."""
    if not settings.address:
        yield None
        return
    host, port = settings.host_and_port
    token = read_secret(settings.token) if settings.token else None
    app = make_app(agent, settings, token=token, on_loopback=is_loopback(host))
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {settings.address}: {error.strerror}", hint="see --http and --no-http"
            ) from None
        bound = runner.addresses[0]
        yield f"http://{host if ':' not in host else f'[{host}]'}:{bound[1]}"
    finally:
        await runner.cleanup()


def make_app(
    agent: Agent, settings: HttpSettings, *, token: str | None, on_loopback: bool
) -> web.Application:
    """The application. Requests that change something need `token`, or to come from this machine."""
    api = _Api(agent, asyncio.Semaphore(settings.requests_at_once))
    guard = _Guard(token, on_loopback=on_loopback)
    app = web.Application(client_max_size=settings.max_body, middlewares=[guard.middleware])
    handlers: dict[str, Handler] = {
        "/health": api.health,
        "/ready": api.ready,
        "/metrics": api.metrics,
        "/api/status": api.status,
        "/api/cache": api.cache,
        "/api/cache/warm": api.warm,
        "/api/bridge/generate-intelligence": api.generate,
    }
    for path, (method, *_) in openapi.ROUTES.items():
        app.router.add_route(method.upper(), path, handlers[path])
    app.router.add_get("/openapi.json", api.describe)
    return app


class _Guard:
    """Decides who may ask, and turns refusals into answers."""

    def __init__(self, token: str | None, *, on_loopback: bool) -> None:
        self._token = token
        self._on_loopback = on_loopback

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._check(request)
            response = await handler(request)
        except Refused as refusal:
            response = _answer({"error": str(refusal)}, refusal.status)
        except web.HTTPRequestEntityTooLarge:
            response = _answer({"error": "the body is too large"}, 413)
        except web.HTTPException as error:
            response = _answer({"error": error.reason}, error.status)
        response.headers["Server"] = "archon"
        response.headers["X-Content-Type-Options"] = "nosniff"
        if response.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    def _check(self, request: web.Request) -> None:
        # A page in somebody's browser can send requests to this machine under a name of its own.
        if self._on_loopback and not is_loopback(_hostname(request.host)):
            raise Refused(403, "this server is for this machine only")
        if request.method in ("GET", "HEAD"):
            return
        if self._token is not None:
            given = request.headers.get("Authorization", "").partition("Bearer ")[2]
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                raise Refused(401, "a bearer token is needed")
        elif not self._on_loopback:
            raise Refused(403, "this needs a bearer token, and the server has none: see http.token")
        if request.content_type != "application/json":
            raise Refused(415, "the body must be application/json")


class _Api:
    """The answers."""

    def __init__(self, agent: Agent, turns: asyncio.Semaphore) -> None:
        self._agent = agent
        self._turns = turns

    async def health(self, _request: web.Request) -> web.Response:
        return _health_answer(self._agent.alive())

    async def ready(self, _request: web.Request) -> web.Response:
        return _health_answer(await self._agent.readiness())

    async def metrics(self, _request: web.Request) -> web.Response:
        text = await asyncio.to_thread(generate_latest, self._agent.metrics.registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def status(self, _request: web.Request) -> web.Response:
        return _answer(self._agent.status().model_dump(mode="json"))

    async def cache(self, _request: web.Request) -> web.Response:
        return _answer({name: stats.to_json() for name, stats in self._agent.caches().items()})

    async def describe(self, _request: web.Request) -> web.Response:
        return _answer(openapi.document())

    async def generate(self, request: web.Request) -> web.Response:
        body = await _body(request)
        try:
            asked = BridgeIntelligenceRequest.model_validate(from_json(body))
        except (ValidationError, InvalidEvent) as error:
            raise Refused(400, _first_line(error)) from None
        async with self._turns:
            return web.Response(
                body=to_json(await self._agent.bridge.generate(asked)), content_type="application/json"
            )

    async def warm(self, request: web.Request) -> web.Response:
        body = await _body(request)
        try:
            asked = decode_request(body)
        except InvalidEvent as error:
            raise Refused(400, _first_line(error)) from None
        async with self._turns:
            results = await self._agent.bridge.warm(asked)
        return _answer(
            {
                "files": len(results),
                "bytes": sum(result.bytes for result in results),
                "failed": sum(result.reason is not None for result in results),
                "results": [
                    {
                        "path": result.path,
                        "bytes": result.bytes,
                        "reason": result.reason,
                        "message": result.message,
                    }
                    for result in results
                ],
            }
        )


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            return await request.read()
    except TimeoutError:
        raise Refused(408, f"the body did not come within {BODY_DEADLINE_S:g} s") from None


def _health_answer(report: Report) -> web.Response:
    return _answer(report.to_json(), 200 if report.ready else 503)


def _answer(value: Any, status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(value), status=status, content_type="application/json")


def _first_line(error: Exception) -> str:
    """What is wrong with a body, without repeating what it holds."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return display(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
    return display(redact(str(error)))


def _hostname(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, is this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
