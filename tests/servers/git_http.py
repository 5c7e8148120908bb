"""A Git host on loopback: the real `git http-backend` behind aiohttp, with tokens, TLS and faults."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import ssl
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from aiohttp import web

from tests.subprocesses import child_process

DISCOVERY = "info/refs"
UPLOAD_PACK = "git-upload-pack"
CHUNK = 1 << 16


@dataclass
class Fault:
    """What to do instead of (or to) the answer of requests whose path ends in `on`, `times` times.

    `corrupt` flips a byte of the pack, `truncate` ends the answer early, `hang` sends headers, the first
    `after` bytes, half of the next part and then nothing, `drip` sends one byte every `pause` seconds.
    `reached` is set when the request arrives, `hanging` when nothing more will come.
    """

    kind: Literal["status", "redirect", "corrupt", "truncate", "hang", "drip", "reset"]
    on: str = UPLOAD_PACK
    times: int = 1 << 30
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    pause: float = 0.05
    after: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    hanging: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Seen:
    """A request that arrived; `sent` counts the bytes of its answer's body."""

    path: str
    authorization: str | None
    body: bytes
    sent: list[int]


class GitHttpServer:
    """Serves the bare repositories below `root`. `tokens` makes a repository private by its name.

    `answers` are given in place of Git's own, by path: body and content type.
    `protocol_v2=False` hides the client's wish for version 2, as hosts before Git 2.18 do.
    `most_at_once` is how many packs were ever being asked for at the same time.
    """

    def __init__(
        self,
        root: Path,
        *,
        tokens: Mapping[str, str] | None = None,
        certificate: ssl.SSLContext | None = None,
        protocol_v2: bool = True,
        config: Mapping[str, str] | None = None,
    ) -> None:
        self.root = root
        self.tokens = dict(tokens or {})
        self.protocol_v2 = protocol_v2
        self.config = {"safe.directory": "*", "uploadpack.allowFilter": "true", **(config or {})}
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.answers: dict[str, tuple[bytes, str]] = {}
        self.routes: list[web.RouteDef] = []
        self.port = 0
        self.most_at_once = self._at_once = 0
        self._certificate = certificate
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None

    @property
    def base(self) -> str:
        return f"{'https' if self._certificate else 'http'}://127.0.0.1:{self.port}"

    def url(self, name: str) -> str:
        return f"{self.base}/{name}"

    @property
    def bytes_sent(self) -> int:
        """Body bytes of every answer so far."""
        return sum(sum(seen.sent) for seen in self.seen)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.add_routes([*self.routes, web.route("*", "/{path:.*}", self._handle)])
        self._runner = web.AppRunner(app, shutdown_timeout=0.2, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._certificate)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        assert self._runner
        await self._runner.cleanup()
        # What is cancelled still ends its process; a loop that closes before that leaves it to the collector.
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=20)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        seen = Seen(request.path_qs, request.headers.get("Authorization"), body, [])
        self.seen.append(seen)
        if request.path in self.answers:
            content, content_type = self.answers[request.path]
            return web.Response(body=content, content_type=content_type)
        fault = self._fault(request.path)
        if fault and fault.kind == "status":
            return web.Response(status=fault.status, headers=fault.headers)
        if fault and fault.kind == "redirect":
            location = fault.headers["Location"] + (
                "?" + request.query_string if request.query_string else ""
            )
            return web.Response(status=fault.status, headers={"Location": location})
        if fault and fault.kind == "reset":
            assert request.transport
            request.transport.abort()
            return web.Response()
        if not self._allowed(request):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        self._at_once += request.path.endswith(UPLOAD_PACK)
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._backend(request, body, seen, fault)
        finally:
            self._at_once -= request.path.endswith(UPLOAD_PACK)

    def _fault(self, path: str) -> Fault | None:
        for fault in self.faults:
            if path.endswith(fault.on) and fault.times > 0:
                fault.times -= 1
                fault.reached.set()
                return fault
        return None

    def _allowed(self, request: web.Request) -> bool:
        token = self.tokens.get(request.path.lstrip("/").partition("/")[0])
        if token is None:
            return True
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            return base64.b64decode(value).decode().partition(":")[2] == token
        return scheme == "Bearer" and value == token

    async def _backend(
        self, request: web.Request, body: bytes, seen: Seen, fault: Fault | None
    ) -> web.StreamResponse:
        async with child_process(
            "git",
            "http-backend",
            group=True,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=self._environment(request),
            limit=1 << 20,
        ) as process:
            assert process.stdin
            assert process.stdout
            with contextlib.suppress(ConnectionError):
                process.stdin.write(body)
                await process.stdin.drain()
                process.stdin.close()
            head = await process.stdout.readuntil(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().strip().split("\r\n"))
            status = int(headers.pop("Status", "200").split()[0])
            response = web.StreamResponse(status=status, headers=headers)
            await response.prepare(request)
            async for chunk in _spoiled(_chunks(process.stdout), fault):
                await response.write(chunk)
                seen.sent.append(len(chunk))
            await response.write_eof()
            return response

    def _environment(self, request: web.Request) -> dict[str, str]:
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": str(len(self.config)),
        }
        for number, (key, value) in enumerate(self.config.items()):
            environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        if self.protocol_v2 and "Git-Protocol" in request.headers:
            environment["GIT_PROTOCOL"] = request.headers["Git-Protocol"]
        return environment


async def _chunks(stdout: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while chunk := await stdout.read(CHUNK):
        yield chunk


async def _spoiled(chunks: AsyncIterator[bytes], fault: Fault | None) -> AsyncIterator[bytes]:
    kind = fault.kind if fault else None
    passed = 0
    async for chunk in chunks:
        passed += len(chunk)
        if kind == "corrupt":
            yield _with_flipped_pack_byte(chunk)
        elif kind == "truncate":
            yield chunk[: len(chunk) // 2]
            return
        elif fault and kind == "hang" and passed > fault.after:
            yield chunk[: len(chunk) // 2]
            fault.hanging.set()
            await asyncio.Event().wait()
        elif kind == "drip":
            assert fault
            for byte in chunk:
                yield bytes([byte])
                await asyncio.sleep(fault.pause)
        else:
            yield chunk


def _with_flipped_pack_byte(chunk: bytes) -> bytes:
    start = chunk.find(b"PACK")
    if start < 0:
        return chunk
    position = start + 12 + (len(chunk) - start - 12) // 2
    return chunk[:position] + bytes([chunk[position] ^ 0x20]) + chunk[position + 1 :]
