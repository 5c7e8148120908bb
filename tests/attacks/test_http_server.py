"""Attacks on the HTTP server by raw sockets: silence, slowness, crowds, malformed bytes, foreign pages."""

from __future__ import annotations

import asyncio
import gzip
import logging
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from archon_agent.http.answers import Handlers, answer, read_body
from archon_agent.http.connections import Limits
from archon_agent.http.places import Places
from archon_agent.http.server import serving
from core.settings.http import HttpSettings

PATH = "/api/cache/warm"
PATIENCE_S = 20.0
FEW = Limits(connections=6, reserve=2, wait=PATIENCE_S)


class Peer:
    """A connection of which the test decides every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def at(cls, url: str) -> Peer:
        host, _, port = url.removeprefix("http://").rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def ask(self, path: str, *headers: str, body: bytes | None = None) -> None:
        method = "GET" if body is None else "POST"
        length = [] if body is None else [f"Content-Length: {len(body)}", "Content-Type: application/json"]
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *length, *headers, "", ""]
        self.send("\r\n".join(lines).encode("utf-8", "surrogateescape") + (body or b""))

    async def answer(self) -> tuple[int, bytes]:
        """The status, and all of head and body."""
        async with asyncio.timeout(PATIENCE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            return int(head.split()[1]), head + await self.reader.readexactly(length)

    async def closed(self) -> bytes:
        """What comes until the server closes."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


class Place:
    """A server, the peers that came, and what its handlers were given."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[bytes] = []
        self.open = asyncio.Event()
        self.at_work = 0
        self._peers: list[Peer] = []

    async def peer(self) -> Peer:
        self._peers.append(await Peer.at(self.url))
        return self._peers[-1]

    async def status(self, path: str, *headers: str, body: bytes | None = None) -> int:
        peer = await self.peer()
        peer.ask(path, *headers, body=body)
        status, _ = await peer.answer()
        return status

    def close(self) -> None:
        for peer in self._peers:
            peer.writer.transport.abort()


@asynccontextmanager
async def served(limits: Limits = FEW) -> AsyncIterator[Place]:
    async def health(_request: web.Request) -> web.Response:
        return answer({"state": "ok"})

    async def warm(request: web.Request) -> web.Response:
        place.bodies.append(await read_body(request))
        return answer({})

    async def generate(request: web.Request) -> web.Response:
        await read_body(request)
        place.at_work += 1
        await place.open.wait()
        return answer({})

    handlers: Handlers = {
        "/health": health,
        PATH: warm,
        "/api/bridge/generate-intelligence": generate,
    }
    async with serving(handlers, HttpSettings(address="127.0.0.1:0"), limits) as url:
        assert url is not None
        place = Place(url)
        try:
            yield place
        finally:
            place.open.set()
            place.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow:",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /hea",
    ],
    ids=["no byte", "half a request", "an answered request", "half of a second request"],
)
async def test_whoever_keeps_the_server_waiting_is_cut_off(sent: bytes) -> None:
    async with served(Limits(wait=0.2)) as place:
        peer = await place.peer()
        peer.send(sent)
        rest = await peer.closed()
        assert rest.count(b"HTTP/1.1 200") == sent.count(b"\r\n\r\n")


async def test_headers_that_trickle_do_not_extend_the_deadline() -> None:
    async with served(Limits(wait=0.3)) as place:
        peer = await place.peer()
        peer.send(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        started = asyncio.get_running_loop().time()

        async def trickle() -> None:
            while not peer.writer.is_closing():
                peer.send(b"X-A: b\r\n")
                await asyncio.wait([ended], timeout=0.05)

        ended = asyncio.ensure_future(peer.closed())
        trickling = asyncio.create_task(trickle())
        await ended
        trickling.cancel()
        assert asyncio.get_running_loop().time() - started < PATIENCE_S / 2


async def test_a_peer_that_does_not_read_its_answers_is_cut_off() -> None:
    async with served(Limits(wait=0.5)) as place:
        peer = await place.peer()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        many = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 1000

        async def insist() -> None:
            while True:
                peer.send(many)
                await peer.writer.drain()

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(insist(), PATIENCE_S)


async def test_health_is_answered_while_idle_and_slow_connections_crowd_the_server() -> None:
    async with served() as place:
        crowd = [await place.peer() for _ in range(40)]
        for number, peer in enumerate(crowd):
            kinds = (b"", b"GET /health HTTP/1.1\r\nHost:", _slow_body())
            peer.send(kinds[number % 3])
        for _ in range(10):
            assert await place.status("/health") == 200
        assert await place.status(PATH, body=b"{}") == 200
        ended = await asyncio.gather(*(peer.closed() for peer in crowd[:30]))
        assert len(ended) == 30
        assert place.bodies == [b"{}"]


async def test_health_is_answered_while_every_connection_is_at_work() -> None:
    async with served() as place:
        busy = [await place.peer() for _ in range(FEW.connections)]
        for peer in busy:
            peer.ask("/api/bridge/generate-intelligence", body=b"{}")
        async with asyncio.timeout(PATIENCE_S):
            while place.at_work < len(busy):
                await asyncio.wait_for(place.status("/health"), PATIENCE_S)
        assert await place.status(PATH, body=b"{}") == 503
        assert await place.status("/health") == 200
        place.open.set()
        assert [(await peer.answer())[0] for peer in busy] == [200] * len(busy)
        assert await place.status(PATH, body=b"{}") == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00canary",
        b"GET /canary\r\n\r\n",
        b"CANARY canary canary\r\n\r\n",
        b"GET / HTTP/1.1\r\ncanary\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"canary" * 5000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: canary\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /%ff%00canary HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: canary\r\nConnection: close\r\n\r\n",
        b"POST /api/cache/warm HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: canary\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_malformed_requests_are_refused_without_repeating_them_or_a_version(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with served() as place:
            peer = await place.peer()
            peer.send(sent)
            got = await peer.closed()
    assert 400 <= int(got.split()[1]) < 500
    low = got.lower()
    assert b"canary" not in low
    assert b"aiohttp" not in low
    assert b"python" not in low
    assert not caplog.records


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("deflate", gzip.compress(b'{"canary": 1}', mtime=0)),
        ("gzip", zlib.compress(b'{"canary": 1}')),
        ("gzip", b'{"canary": 1}'),
        ("br", b'{"canary": 1}'),
    ],
    ids=["gzip as deflate", "zlib as gzip", "plain as gzip", "plain as br"],
)
async def test_a_body_that_is_not_what_its_encoding_says_is_a_bad_request(
    encoding: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with served() as place:
            peer = await place.peer()
            peer.ask(PATH, f"Content-Encoding: {encoding}", body=body)
            status, got = await peer.answer()
            assert status == 400
            assert b"canary" not in got
            assert not place.bodies
            assert await place.status("/health") == 200
    assert not caplog.records


async def test_a_chunked_body_that_breaks_off_is_a_bad_request() -> None:
    async with served() as place:
        peer = await place.peer()
        head = "POST /api/cache/warm HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        peer.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nnonsense\r\n")
        status, _ = await peer.answer()
        assert status == 400
        assert not place.bodies


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Origin: https://evil.example", 403),
        ("Origin: null", 403),
        ("Origin: http://127.0.0.1:3000", 403),
        ("Origin: http://127.0.0.1.evil.example", 403),
        ("Origin: \udcff", 403),
        ("Sec-Fetch-Site: cross-site", 403),
        ("Sec-Fetch-Site: same-site", 403),
        ("Sec-Fetch-Site: anything", 403),
        ("Origin: http://127.0.0.1", 200),
        ("Sec-Fetch-Site: same-origin", 200),
        ("Sec-Fetch-Site: none", 200),
        ("X-Other: 1", 200),
    ],
)
async def test_pages_of_other_sites_change_nothing(header: str, status: int) -> None:
    async with served() as place:
        assert await place.status(PATH, header, body=b"{}") == status
        assert len(place.bodies) == (status == 200)


async def test_every_route_that_changes_something_refuses_pages_of_other_sites() -> None:
    from archon_agent import openapi

    async def handler(_request: web.Request) -> web.Response:
        return answer({})

    routes = {path: handler for path in openapi.ROUTES if path != "/openapi.json"}
    posts = [path for path in routes if openapi.ROUTES[path][0] == "post"]
    assert len(posts) >= 3
    async with serving(routes, HttpSettings(address="127.0.0.1:0"), Limits()) as url:
        assert url is not None
        place = Place(url)
        for path in posts:
            assert await place.status(path, "Origin: https://evil.example", body=b"{}") == 403
            assert await place.status(path, body=b"{}") == 200
        place.close()


def test_the_peer_that_has_most_makes_room_and_what_is_at_work_stays() -> None:
    places = Places[int](4, lambda member: member != 1)
    for member, peer in ((0, "quiet"), (1, "greedy"), (2, "greedy"), (3, "greedy")):
        assert places.enter(member, peer) is None
    assert places.enter(4, "new") == 2, "the oldest of the greedy peer that may go"
    assert 2 not in places
    places.leave(2)
    assert places.enter(5, "new") == 0, "among equals the one that came first"
    assert Places[int](1, lambda _: False).enter(1, "a") is None


def _slow_body() -> bytes:
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: 100\r\n\r\n{"
