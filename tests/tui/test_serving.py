"""`--serve`: the real server, a real page, a real session over its websocket; and who is not let in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from archon_tui.demo import files, make_repository
from archon_tui.serving import Address
from core.errors import UsageError
from tests.servers.ports import free_ports
from tests.subprocesses import child_process
from tests.tui.driving import PATIENCE_S
from tests.tui.test_terminal import COMMAND, environment

ESCAPES = re.compile(rb"\x1b\[[0-9;?<>=]*[A-Za-z]")


class Served:
    """A running `archon-tui --serve`: its link, its address, its process."""

    def __init__(self, process: asyncio.subprocess.Process, link: str, said: str) -> None:
        self.process = process
        self.link = link
        self.said = said
        self.base = link.partition("/?")[0]

    @property
    def dashboards(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    make_repository(tmp_path / "src" / "shop", files("shop", 3))
    (port,) = free_ports(1)
    async with child_process(
        *[*COMMAND, "--serve", "--serve-port", str(port), str(tmp_path / "src")],
        env=environment(tmp_path / "home"),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    ) as process:
        assert process.stderr
        async with asyncio.timeout(PATIENCE_S):
            said = (await process.stderr.readline()).decode()
        link = re.search(r"http://\S+", said)
        assert link, said
        yield Served(process, link.group(), said)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == 0


async def screen_with(socket: aiohttp.ClientWebSocketResponse, word: bytes) -> bytes:
    """What the terminal was sent, until `word` was in it."""
    seen = b""
    async with asyncio.timeout(PATIENCE_S):
        while word not in ESCAPES.sub(b"", seen):
            message = await socket.receive()
            assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), message
            if message.type is aiohttp.WSMsgType.BINARY:
                seen += message.data
    return seen


async def test_a_browser_with_the_link_gets_the_dashboard_read_only(served: Served) -> None:
    assert "read-only" in served.said
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an address
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        async with browser.get(served.link) as page:
            assert page.status == 200
            assert str(page.url) == f"{served.base}/", "the secret is out of the address line"
            assert page.headers["X-Frame-Options"] == "DENY"
            text = await page.text()
        assert "/static/js/textual.js" in text
        async with browser.get(f"{served.base}/static/js/textual.js") as script:
            assert script.status == 200
        socket = await browser.ws_connect(
            f"{served.base.replace('http', 'ws', 1)}/ws?width=100&height=30",
            headers={"Origin": served.base},
        )
        await screen_with(socket, b"shop")
        await socket.send_str(json.dumps(["stdin", "\r"]))
        await screen_with(socket, b"text up to")
        await socket.send_str(json.dumps(["stdin", "R"]))
        await screen_with(socket, b"read-only")
        (dashboard,) = served.dashboards
        await socket.close()
        await asyncio.to_thread(dashboard.wait, PATIENCE_S)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "open the link"),
        ({"Cookie": "archon=guessed"}, "open the link"),
        ({"Host": "rebound.example:80"}, "open the dashboard as"),
        ({"Origin": "http://evil.example"}, "that page may not"),
        ({"Origin": "null"}, "that page may not"),
    ],
)
async def test_a_stranger_gets_neither_page_nor_session(
    served: Served, headers: dict[str, str], reason: str
) -> None:
    async with aiohttp.ClientSession() as stranger:
        for path in ("/", "/?key=guessed", "/static/js/textual.js", "/download/x"):
            async with stranger.get(f"{served.base}{path}", headers=headers) as answer:
                assert answer.status == 403
                assert reason in await answer.text()
        # Of a page elsewhere even the cookie would not help: browsers tell where a websocket comes from.
        secret = served.link.partition("key=")[2]
        known = {"Cookie": f"archon={secret}"} if "Cookie" not in headers else {}
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await stranger.ws_connect(f"{served.base}/ws", headers={**headers, **known})
        assert refused.value.status == 403
    assert served.dashboards == []


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: %b\r\nCookie: archon=\xff\xfe\r\nConnection: close\r\n\r\n",
        b"GET /?key=%%ff%%ed%%a0%%80 HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: %b\r\nOrigin: \xff\r\nConnection: close\r\n\r\n",
        b"GET / canary\r\nHost: %b\r\n\r\n",
    ],
)
async def test_odd_bytes_are_refused_in_silence(served: Served, request_: bytes) -> None:
    authority = served.base.removeprefix("http://")
    host, _, port = authority.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request_ % authority.encode())
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    assert answer.split()[1] in (b"400", b"403")
    assert b"aiohttp" not in answer
    assert b"canary" not in answer


@pytest.mark.parametrize("url", ["ftp://host", "host:8000", "https://host/path", "https://"])
def test_an_address_for_browsers_is_an_origin(url: str) -> None:
    with pytest.raises(UsageError, match="--serve-url"):
        _ = Address(url=url).public


def test_the_address_is_written_as_browsers_write_it() -> None:
    assert Address().public == "http://127.0.0.1:8000"
    assert Address("::1", 80).public == "http://[::1]:80"
    assert Address(url="https://archon.example/").public == "https://archon.example"


def test_a_port_in_use_ends_with_one_line(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [*COMMAND, "--serve", "--serve-port", str(taken.getsockname()[1])],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
    assert done.returncode == 3
    assert "cannot listen at 127.0.0.1 port" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sys.executable not in done.stderr
