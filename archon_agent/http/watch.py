"""What the server of `archon-agent watch` answers: push hooks."""

from __future__ import annotations

from aiohttp import web

from archon_agent.http.answers import (
    Handlers,
    Refused,
    answer,
    first_line,
    read_body,
    readings,
    state_handlers,
)
from core.errors import AccessDenied, ConfigurationError, InvalidEvent
from core.watching.hooks import is_signed
from core.watching.service import WatchService

HOOK_BYTES = 5 << 20
"""Largest hook that is read: whoever sends it is unknown until all of it is here."""


HOOK_DEADLINE_S = 8.0
"""Longest time for a hook's body to come. The hosts give up after 10 s."""

HOOKS_READ = 16
"""Most bodies of hooks that are read at a time: whoever sends them is unknown until they are here."""


def watch_handlers(watch: WatchService) -> Handlers:
    """The handlers over `watch`, by path."""
    reading = readings(HOOKS_READ)

    async def push(request: web.Request) -> web.Response:
        if not is_signed(request.headers):
            watch.refuse()
            raise Refused(401, "the hook is not signed: give it the secret of watch.hook_secret")
        body = await read_body(request, HOOK_BYTES, deadline=HOOK_DEADLINE_S, among=reading)
        try:
            done, why = watch.hook(request.headers, body)
        except AccessDenied as error:
            raise Refused(401, first_line(error)) from None
        except InvalidEvent as error:
            raise Refused(400, first_line(error)) from None
        except ConfigurationError as error:
            raise Refused(503, first_line(error)) from None
        told = {"projects": done} if why is None else {"projects": done, "ignored": why}
        return answer(told, 202 if "queued" in done.values() else 200)

    return {**state_handlers(watch), "/api/hooks/push": push}
