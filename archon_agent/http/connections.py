"""The server's connections: how many there may be, and how long each may keep it waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from archon_agent.http.answers import answer, harden
from archon_agent.http.places import Places

PROBES = frozenset({"/health", "/ready", "/metrics"})
"""What is answered on the places kept in reserve."""

Answering = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections, `reserve` of them for `PROBES` only, and how long one may be silent.

    `wait` is in seconds. It bounds the wait for a request's headers, for the next request, and for the
    peer to read an answer. The default is more than the 15 s between two scrapes of Prometheus.
    """

    connections: int = 64
    reserve: int = 8
    wait: float = 20.0


class Connection(web.RequestHandler):
    """A connection that is cut off when its peer keeps the server waiting."""

    def __init__(self, server: Server, wait: float, **options: Any) -> None:
        super().__init__(server, **options)
        self._wait = wait
        self._deadline: asyncio.TimerHandle | None = None
        self.is_at_work = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._cancel_deadline()
        super().connection_lost(exc)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While inside, the server works on a request, and the peer is not waited for."""
        self._cancel_deadline()
        self.is_at_work = True
        try:
            yield
        finally:
            self.is_at_work = False
            self._expect()

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """While inside, the peer sends a body; whoever reads it has a deadline for it."""
        self.is_at_work = False
        try:
            yield
        finally:
            self.is_at_work = True

    def cut(self) -> None:
        """Close at once, without sending what the peer has not read yet."""
        transport = self.transport
        self.force_close()
        if transport is not None:
            transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is not HTTP (400) and to a fault of ours (500); the input is not repeated."""
        if status >= 500 and not isinstance(exc, ConnectionError):
            self.log_exception("cannot answer %s", request.path, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        why = "that is not an HTTP request" if status == 400 else "the request could not be answered"
        response = harden(answer({"error": why}, status))
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log faults of ours; a body that breaks off or is malformed is the peer's."""
        if not isinstance(kw.get("exc_info"), ConnectionError | web.RequestPayloadError):
            super().log_exception(*args, **kw)

    def _expect(self) -> None:
        self._cancel_deadline()
        if self.transport is not None:
            self._deadline = asyncio.get_running_loop().call_later(self._wait, self.cut)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Server(web.Server):
    """Answers with `answering` on a bounded number of connections.

    When there are too many, one that waits for its peer is cut off. While every one is at work, newcomers
    take places in reserve, on which only `PROBES` are answered and the rest is told 503.
    """

    def __init__(self, answering: Answering, limits: Limits, **options: Any) -> None:
        super().__init__(self._answer, **options)
        self._answering = answering
        self._wait = limits.wait
        self._places: Places[Connection] = Places(limits.connections, _waits)
        self._reserve: Places[Connection] = Places(limits.reserve, _waits)

    def __call__(self) -> Connection:
        return Connection(
            self, self._wait, loop=asyncio.get_running_loop(), access_log=None, lingering_time=2.0
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        assert isinstance(handler, Connection)  # noqa: S101 - narrows aiohttp's type
        peer = str((transport.get_extra_info("peername") or [""])[0])
        loser = self._places.enter(handler, peer)
        if loser is handler:
            loser = self._reserve.enter(handler, peer)
        if loser is not None:
            loser.cut()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        assert isinstance(handler, Connection)  # noqa: S101 - narrows aiohttp's type
        self._places.leave(handler)
        self._reserve.leave(handler)
        super().connection_lost(handler, exc)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)  # noqa: S101 - narrows aiohttp's type
        with connection.at_work():
            try:
                if connection in self._reserve and request.path not in PROBES:
                    return _close(answer({"error": "too many requests at once"}, 503))
                response = await self._answering(request)
                return response if response.prepared else harden(response)
            except web.HTTPException as error:
                return _close(answer({"error": error.reason}, error.status))


class Runner(web.AppRunner):
    """Runs an application on a `Server` with these limits."""

    __slots__ = ("_limits",)

    def __init__(self, app: web.Application, limits: Limits, *, shutdown_timeout: float) -> None:
        super().__init__(app, access_log=None, handle_signals=False, shutdown_timeout=shutdown_timeout)
        self._limits = limits

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return Server(plain.request_handler, self._limits, request_factory=plain.request_factory)


def _waits(connection: Connection) -> bool:
    return not connection.is_at_work


def _close(response: web.Response) -> web.Response:
    response.force_close()
    return harden(response)
