"""What the server of `archon-agent watch` answers: push hooks."""

from __future__ import annotations

import asyncio

from aiohttp import web

from archon_agent.http.answers import Handlers, Refused, answer, first_line, read_body, state_handlers
from core.errors import AccessDenied, ConfigurationError, InvalidEvent
from core.watching.hooks import is_signed
from core.watching.service import WatchService

HOOK_BYTES = 5 << 20
"""Largest hook that is read: whoever sends it is unknown until all of it is here."""


def watch_handlers(watch: WatchService, *, requests_at_once: int = 8) -> Handlers:
    """The handlers over `watch`, by path; `requests_at_once` bounds the hooks held at a time."""
    turns = asyncio.Semaphore(requests_at_once)

    async def push(request: web.Request) -> web.Response:
        if not is_signed(request.headers):
            watch.refuse()
            raise Refused(401, "the hook is not signed: give it the secret of watch.hook_secret")
        async with turns:
            body = await read_body(request, HOOK_BYTES)
            try:
                done = watch.hook(request.headers, body)
            except AccessDenied as error:
                raise Refused(401, first_line(error)) from None
            except InvalidEvent as error:
                raise Refused(400, first_line(error)) from None
            except ConfigurationError as error:
                raise Refused(503, first_line(error)) from None
        return answer({"projects": done}, 202 if "queued" in done.values() else 200)

    return {**state_handlers(watch), "/api/hooks/push": push}
