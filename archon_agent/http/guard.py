"""Who may ask the server, and what every answer has."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection

from aiohttp import web

from archon_agent.http.answers import Handler, Refused, answer


class Guard:
    """Decides who may ask, and turns refusals into answers.

    Requests that change something need `token`, or to come from this machine; those to `signed` paths
    prove themselves by a signature, which their handlers check.
    """

    def __init__(self, token: str | None, *, on_loopback: bool, signed: Collection[str] = ()) -> None:
        self._token = token
        self._on_loopback = on_loopback
        self._signed = frozenset(signed)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._check(request)
            response = await handler(request)
        except Refused as refusal:
            response = answer({"error": str(refusal)}, refusal.status)
        except web.HTTPRequestEntityTooLarge:
            response = answer({"error": "the body is too large"}, 413)
        except web.HTTPException as error:
            response = answer({"error": error.reason}, error.status)
        if response.status == 401 and request.path not in self._signed:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    def _check(self, request: web.Request) -> None:
        if request.path not in self._signed:
            self._check_sender(request)
        if request.method in ("GET", "HEAD"):
            return
        if _is_of_another_site(request):
            raise Refused(403, "pages of other sites may not use this server")
        if request.content_type != "application/json":
            raise Refused(415, "the body must be application/json")

    def _check_sender(self, request: web.Request) -> None:
        # A page in somebody's browser can send requests to this machine under a name of its own.
        if self._on_loopback and not is_loopback(_hostname(request.host)):
            raise Refused(403, "this server is for this machine only")
        if request.method in ("GET", "HEAD"):
            return
        if self._token is not None:
            given = request.headers.get("Authorization", "").partition("Bearer ")[2]
            # Header bytes that are not UTF-8 come as surrogates.
            if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token.encode()):
                raise Refused(401, "a bearer token is needed")
        elif not self._on_loopback:
            raise Refused(403, "this needs a bearer token, and the server has none: see http.token")


def _is_of_another_site(request: web.Request) -> bool:
    """Whether a browser sent the request for a page that is not this server's own (Fetch Metadata, RFC 6454).

    Programs send neither header.
    """
    if request.headers.get("Sec-Fetch-Site", "none").lower() not in ("none", "same-origin"):
        return True
    origins = request.headers.getall("Origin", [])
    return any(origin.partition("://")[2].lower() != request.host.lower() for origin in origins)


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
