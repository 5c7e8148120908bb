"""The dashboard in a browser: textual-serve, behind a link that only its reader has.

Every visit is a process of its own with this user's rights. What is asked must name the address that was
printed (Host), come from a page of it (Origin) and carry the link's secret, exchanged for a cookie at the
first visit. The link is plain HTTP: beyond this machine it needs TLS in front.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import shlex
import signal
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from archon_agent.http.connections import Limits, Runner
from core.errors import ConfigurationError, UsageError

HOST, PORT = "127.0.0.1", 8000
LOOPBACK = ("127.0.0.1", "::1", "localhost")
COOKIE = "archon"
SECRET = "key"  # noqa: S105 - the parameter's name
MAX_SESSIONS = 8
CLOSE_S = 1.0
_HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, and the `url` by which browsers come, which differs behind a proxy."""

    host: str = HOST
    port: int = PORT
    url: str | None = None

    @property
    def public(self) -> str:
        """`scheme://host:port`, without a slash at the end. Raises `UsageError` for no such URL."""
        if self.url is None:
            return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
            raise UsageError("--serve-url is of the form https://host or https://host:port")
        return f"{parts.scheme}://{parts.netloc}"


class Guard:
    """Lets in what comes by the link, and refuses the rest before the dashboard sees it."""

    def __init__(self, public: str, secret: str) -> None:
        self._public = public
        self._authority = urlsplit(public).netloc.lower()
        self._secret = secret
        self._sessions = 0

    def refusal(self, request: web.Request) -> str | None:
        """Why a request is refused; None for one that is let in."""
        if (request.headers.get("Host") or "").lower() != self._authority:
            return f"open the dashboard as {self._public}"
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() != self._public.lower():
            return "that page may not use the dashboard"
        if request.path == "/ws" and origin is None:
            return "the dashboard is opened by its own page"
        if not self._knows(request.cookies.get(COOKIE)):
            return "open the link that archon-tui printed"
        return None

    def _knows(self, given: str | None) -> bool:
        # Bytes that are not UTF-8 come as surrogates. The secret has no question mark.
        return given is not None and hmac.compare_digest(
            given.encode(errors="replace"), self._secret.encode()
        )

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """An aiohttp middleware."""
        given = request.query.get(SECRET)
        if request.path == "/" and self._knows(given):
            return self._welcome()
        if reason := self.refusal(request):
            return web.Response(status=403, text=f"archon: {reason}\n", headers=_HEADERS)
        if request.path != "/ws":
            response = await handler(request)
            if not response.prepared:
                response.headers.update(_HEADERS)
            return response
        if self._sessions >= MAX_SESSIONS:
            return web.Response(status=503, text="archon: too many dashboards are open\n", headers=_HEADERS)
        self._sessions += 1
        try:
            return await handler(request)
        finally:
            self._sessions -= 1

    def _welcome(self) -> web.Response:
        """The secret goes from the address line into a cookie that scripts and other sites do not get."""
        response = web.Response(status=303, headers={**_HEADERS, "Location": "/"})
        secure = self._public.startswith("https:")
        response.set_cookie(COOKIE, self._secret, httponly=True, samesite="Strict", secure=secure)
        return response


def serve(address: Address, *, read_only: bool) -> int:
    """Serve this command's dashboard until interrupted; the exit code.

    Raises `ConfigurationError` without the extra, or where nothing can listen at the address.
    """
    try:
        from textual_serve.server import Server
    except ImportError:
        raise ConfigurationError(
            "--serve needs the extra serve", hint="pip install 'archon-ingest[serve]'"
        ) from None

    secret = secrets.token_urlsafe(24)

    class Dashboards(Server):
        """Asks the guard first, and says nothing of its own."""

        async def _make_app(self) -> web.Application:
            app = await super()._make_app()
            app.middlewares.append(web.middleware(Guard(address.public, secret)))
            return app

        async def on_startup(self, app: web.Application) -> None:
            return

    async def listen() -> None:
        runner = Runner(await server._make_app(), Limits(), shutdown_timeout=CLOSE_S)  # noqa: SLF001
        await runner.setup()
        try:
            await web.TCPSite(runner, address.host, address.port).start()
            _say(address, f"{address.public}/?{SECRET}={secret}", read_only=read_only)
            await _interrupted()
        finally:
            await runner.cleanup()

    command = shlex.join([sys.executable, "-m", "archon_tui.main", *sys.argv[1:]])
    server = Dashboards(f"exec {command}", address.host, address.port, "archon", address.public)
    try:
        asyncio.run(listen())
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen at {address.host} port {address.port}: {os.strerror(error.errno or 0)}",
            hint="--serve-port",
        ) from None
    return 0


def _say(address: Address, link: str, *, read_only: bool) -> None:
    how = "read-only" if read_only else "with run, cancel, redrive and clear"
    print(f"archon: the dashboard, {how}: {link}", file=sys.stderr)
    if address.host not in LOOPBACK:
        print("archon: other machines reach it too, over plain HTTP, with this link", file=sys.stderr)
    print("archon: ctrl+c ends it", file=sys.stderr, flush=True)


async def _interrupted() -> None:
    """Until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
