"""What the server of `archon-agent run` answers: status, caches, and intelligence on request."""

from __future__ import annotations

import asyncio

from aiohttp import web
from pydantic import ValidationError

from archon_agent.http.answers import Handlers, Refused, answer, first_line, read_body, state_handlers
from archon_agent.http.warming import warm
from core.agent import Agent
from core.errors import InvalidEvent
from core.events.codec import from_json, to_json
from core.events.intelligence import BridgeIntelligenceRequest


def agent_handlers(agent: Agent, *, requests_at_once: int = 8) -> Handlers:
    """The handlers over `agent`, by path; `requests_at_once` bounds those for intelligence and for events."""
    api = _Api(agent, asyncio.Semaphore(requests_at_once))
    return {
        **state_handlers(agent),
        "/api/status": api.status,
        "/api/cache": api.cache,
        "/api/cache/warm": api.warm,
        "/api/bridge/generate-intelligence": api.generate,
    }


class _Api:
    """The answers."""

    def __init__(self, agent: Agent, turns: asyncio.Semaphore) -> None:
        self._agent = agent
        self._turns = turns

    async def status(self, _request: web.Request) -> web.Response:
        return answer(self._agent.status().model_dump(mode="json"))

    async def cache(self, _request: web.Request) -> web.Response:
        return answer({name: stats.to_json() for name, stats in self._agent.caches().items()})

    async def generate(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        try:
            asked = BridgeIntelligenceRequest.model_validate(from_json(body))
        except (ValidationError, InvalidEvent) as error:
            raise Refused(400, first_line(error)) from None
        async with self._turns:
            return web.Response(
                body=to_json(await self._agent.bridge.generate(asked)), content_type="application/json"
            )

    async def warm(self, request: web.Request) -> web.Response:
        return answer(await warm(self._agent, await read_body(request), self._turns))
