"""Servers that speak most of S3: they lack headers, refuse others, and have private certificates."""

from __future__ import annotations

import asyncio
import hashlib
import io
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from core.assembly.ingesting import ingest
from core.assembly.source import Target
from core.errors import BackendUnavailable, PermanentError
from core.repository.facts import SkipReason
from core.settings import load
from core.storage.s3 import S3StorageClient

CONTENT = b"x = 1\n"
SHA = hashlib.sha256(CONTENT).hexdigest()
REFUSAL = """<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"""


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAQUIRKSQUIRKSQUIR")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "quirks")
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)


class Quirky:
    """A store in memory. `refuses` is a header that it does not know; `bare` answers HEAD without facts."""

    def __init__(self, *, refuses: str = "", bare: bool = False, broken: str = "") -> None:
        self.refuses, self.bare, self.broken = refuses, bare, broken
        self.puts: list[dict[str, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            if self.bare:
                return web.Response()
            told = {"Last-Modified": "Mon, 05 Jan 2026 00:00:00 GMT", "Content-Length": "6"}
            return web.Response(headers=told)
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.puts.append(headers)
        if self.broken:
            return web.Response(status=400, text=REFUSAL.format(code="InvalidRequest", message=self.broken))
        if self.refuses in headers:
            message = f"Unsupported header '{self.refuses}' received for this API call."
            return web.Response(status=400, text=REFUSAL.format(code="InvalidArgument", message=message))
        await request.read()
        return web.Response()


@asynccontextmanager
async def served(quirky: Quirky, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", quirky.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client(endpoint: str, *, checksums: bool = True) -> AsyncIterator[S3StorageClient]:
    made = S3StorageClient(
        "bucket", region="us-east-1", endpoint=endpoint, allow_http=True, checksums=checksums
    )
    try:
        yield made
    finally:
        await made.close()


async def test_a_server_that_does_not_know_the_checksum_header_gets_md5() -> None:
    quirky = Quirky(refuses="x-amz-checksum-sha256")
    async with served(quirky) as endpoint, client(endpoint) as storage:
        for _ in range(2):
            await storage.upload_file("k", io.BytesIO(CONTENT), len(CONTENT), SHA, "text/plain")
    assert ["x-amz-checksum-sha256" in headers for headers in quirky.puts] == [True, False, False]
    assert "content-md5" in quirky.puts[-1]


async def test_the_checksum_header_can_be_turned_off() -> None:
    quirky = Quirky(refuses="x-amz-checksum-sha256")
    async with served(quirky) as endpoint, client(endpoint, checksums=False) as storage:
        await storage.upload_bytes("k", CONTENT, SHA, "text/plain")
    assert len(quirky.puts) == 1


async def test_the_words_of_the_server_are_shown() -> None:
    async with served(Quirky(broken="Only A &amp; B are allowed")) as endpoint, client(endpoint) as storage:
        with pytest.raises(PermanentError, match="Only A & B are allowed"):
            await storage.upload_bytes("k", CONTENT, SHA, "text/plain")


@pytest.mark.parametrize("bare", [False, True])
async def test_an_object_of_which_a_server_says_too_little_is_uploaded_again(bare: bool) -> None:
    async with served(Quirky(bare=bare)) as endpoint, client(endpoint) as storage:
        found = await storage.exists("k")
    assert (found is None) == bare


async def test_a_private_authority_is_trusted_for_transfers_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    async with served(Quirky(), tls) as endpoint:
        async with client(endpoint) as storage:
            with pytest.raises(BackendUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await storage.upload_bytes("k", CONTENT, SHA, "text/plain")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        async with client(endpoint) as storage:
            await storage.upload_bytes("k", CONTENT, SHA, "text/plain")


async def test_a_server_that_accepts_and_never_answers_is_given_up_soon_and_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr("core.strategies.object_storage.CHECK_S", 1.0)
    monkeypatch.setattr("core.strategies.object_storage.SAY_AFTER_S", 0.2)
    given_up = asyncio.Event()

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await given_up.wait()
        writer.close()

    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "large.txt").write_bytes(b"x" * 200_000)
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        settings = load(
            {
                "home": tmp_path / "home",
                "storage.provider": "minio",
                "storage.bucket": "bucket",
                "storage.endpoint": f"http://127.0.0.1:{port}",
                "storage.allow_http": True,
                "publish.inline_size_limit": "1KB",
                "publish.content_strategy": "object_storage",
                "publish.max_batch_bytes": "100KB",
            },
            environ={},
        ).settings
        async with asyncio.timeout(30):
            summary, _ = await ingest(settings, Target(tmp_path / "repository"), asyncio.Event())
        given_up.set()
    (skip,) = summary.skipped
    assert skip.reason is SkipReason.INFEASIBLE
    assert "did not answer within 1 s" in skip.detail
    assert "waiting for object storage" in caplog.text
