"""A small HTTP proxy on loopback that misbehaves as scripted, in front of a real server.

Each request takes the next fault of the script; when it is used up, and for None, requests pass. The
Host header is passed on unchanged, so that signatures made for the proxy's address hold behind it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_LIMIT = 1 << 16


@dataclass(frozen=True, slots=True)
class Status:
    """Answer with a status instead of asking the server."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def redirect(location: str) -> Status:
    """Send the client elsewhere."""
    return Status(302, {"Location": location})


@dataclass(frozen=True, slots=True)
class Reset:
    """Pass `after` bytes of the response, then reset the connection."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class Truncate:
    """Pass `after` bytes of the body, then close as if that were all."""

    after: int


@dataclass(frozen=True, slots=True)
class Flip:
    """Flip one bit of the body's byte number `offset`."""

    offset: int


@dataclass(frozen=True, slots=True)
class Drip:
    """Pass the body one byte at a time, every `interval_s` seconds."""

    interval_s: float


@dataclass(frozen=True, slots=True)
class Hang:
    """Accept the request and never answer."""


Fault = Status | Reset | Truncate | Flip | Drip | Hang | None


class FaultProxy:
    """A running proxy. `requests` are the request lines it has seen, `script` the faults still to come.

    The script is for requests whose line contains `only`; `always` is the fault of all others, and of
    those it has none for. `delay_s` passes before a request is taken up, and bodies pass at
    `bytes_per_s` in either direction, per connection.
    """

    def __init__(self, upstream_port: int) -> None:
        self._upstream = upstream_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.script: deque[Fault] = deque()
        self.only = ""
        self.always: Fault = None
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self.requests: list[str] = []
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line, *headers = head[:-4].split(b"\r\n")
        self.requests.append(line.decode())
        fault = self.script.popleft() if self.script and self.only in line.decode() else self.always
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if isinstance(fault, Status):
            await _drain_body(reader, headers)
            await _answer(writer, fault)
            return
        if isinstance(fault, Hang):
            await reader.read()
            return
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._upstream)
        kept = [name for name in headers if not name.lower().startswith(b"connection:")]
        upstream.write(b"\r\n".join([line, *kept, b"Connection: close", b"", b""]))
        sending = asyncio.create_task(_pump(reader, upstream, self.bytes_per_s))
        try:
            await _respond(upstream_reader, writer, fault, self.bytes_per_s)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            upstream.close()


async def _drain_body(reader: asyncio.StreamReader, headers: list[bytes]) -> None:
    for header in headers:
        name, _, value = header.partition(b":")
        if name.lower() == b"content-length":
            await reader.readexactly(int(value))


async def _answer(writer: asyncio.StreamWriter, status: Status) -> None:
    headers = {"Content-Length": str(len(status.body)), "Connection": "close", **status.headers}
    lines = [f"HTTP/1.1 {status.status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode() + status.body)
    await writer.drain()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bytes_per_s: float | None
) -> None:
    while block := await reader.read(_LIMIT):
        await _pace(block, bytes_per_s)
        writer.write(block)
        await writer.drain()


async def _pace(block: bytes, bytes_per_s: float | None) -> None:
    if bytes_per_s:
        await asyncio.sleep(len(block) / bytes_per_s)


async def _respond(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault, bytes_per_s: float | None
) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        writer.write(head)
        head = await reader.readuntil(b"\r\n\r\n")
    if isinstance(fault, Reset) and fault.after == 0:
        _reset(writer)
        return
    writer.write(head[:-2] + b"Connection: close\r\n\r\n")
    passed = 0
    while block := await reader.read(_LIMIT):
        match fault:
            case Truncate(after=after) if passed + len(block) > after:
                writer.write(block[: after - passed])
                await writer.drain()
                return
            case Reset(after=after) if passed + len(block) > after:
                writer.write(block[: after - passed])
                await writer.drain()
                _reset(writer)
                return
            case Flip(offset=offset) if passed <= offset < passed + len(block):
                position = offset - passed
                block = block[:position] + bytes([block[position] ^ 1]) + block[position + 1 :]
            case Drip(interval_s=interval):
                for number in range(len(block)):
                    writer.write(block[number : number + 1])
                    await writer.drain()
                    await asyncio.sleep(interval)
                continue
        passed += len(block)
        await _pace(block, bytes_per_s)
        writer.write(block)
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def fault_proxy(upstream_port: int, *faults: Fault) -> AsyncGenerator[FaultProxy, None]:
    """A proxy before a loopback port, with a script."""
    proxy = FaultProxy(upstream_port)
    proxy.script.extend(faults)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
