"""The HTTP server itself: bound to `http.address`, guarded, with the routes of one command."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from archon_agent import openapi
from archon_agent.http.answers import Handlers, answer
from archon_agent.http.connections import Limits, Runner
from archon_agent.http.guard import Guard, is_loopback
from core.errors import ConfigurationError
from core.settings.http import HttpSettings
from core.settings.secret import read_secret

GRACE_S = 5.0
"""How long requests may go on when the server ends."""

BACKLOG = 32
"""Connections that wait to be accepted. asyncio accepts so many before any is counted or cut off."""


@asynccontextmanager
async def serving(
    handlers: Handlers, settings: HttpSettings, limits: Limits | None = None
) -> AsyncIterator[str | None]:
    """Serve while inside; gives the URL, or None where no address is set. Raises `ConfigurationError`.

    `limits` default to those of `Limits`, and a connection for each of the requests worked on at once.
    """
    if not settings.address:
        yield None
        return
    host, port = settings.host_and_port
    token = read_secret(settings.token) if settings.token else None
    app = make_app(handlers, settings, token=token, on_loopback=is_loopback(host))
    limits = limits or Limits(connections=Limits().connections + settings.requests_at_once)
    runner = Runner(app, limits, shutdown_timeout=GRACE_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=BACKLOG)
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
    handlers: Handlers, settings: HttpSettings, *, token: str | None, on_loopback: bool
) -> web.Application:
    """The application: `handlers` by path, each with the method that the OpenAPI document says."""
    guard = Guard(token, on_loopback=on_loopback, signed=openapi.SIGNED)
    app = web.Application(client_max_size=settings.max_body, middlewares=[guard.middleware])
    for path, handler in handlers.items():
        app.router.add_route(openapi.ROUTES[path][0].upper(), path, handler)
    app.router.add_get("/openapi.json", _describe)
    return app


async def _describe(_request: web.Request) -> web.Response:
    return answer(openapi.document())
