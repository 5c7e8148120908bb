"""LFS content comes through the host's batch API when that is asked for, and is what its pointer says."""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from core.errors import (
    ArchonError,
    ChecksumMismatch,
    ContentMissing,
    ContentTooLarge,
    PermanentError,
    UnsafeInput,
)
from core.events.v2 import GitCredentials
from core.git.errors import HostMisbehaved, LfsPointer
from core.git.lfs import Pointer, parse_pointer
from core.git.source import GitContent, GitSource, Wanted
from core.safety.redact import redact
from core.settings.git import HostCredentials
from tests.bare_repositories import BareRepository
from tests.git_fetching import fetching
from tests.servers.git_http import GitHttpServer

CONTENT = b"the content of a large file\n" * 100
OTHER = b"another large file\n" * 100


def oid(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def pointer(content: bytes) -> bytes:
    version = "version https://git-lfs.github.com/spec/v1"
    return f"{version}\noid sha256:{oid(content)}\nsize {len(content)}\n".encode()


class LfsHost(GitHttpServer):
    """A Git host with the batch API; `objects` by their SHA-256."""

    def __init__(self, root: Path, certificate: ssl.SSLContext | None = None) -> None:
        super().__init__(root, certificate=certificate)
        self.objects = {oid(CONTENT): CONTENT, oid(OTHER): OTHER}
        self.batches: list[dict[str, Any]] = []
        self.downloads: list[web.Request] = []
        self.authorizations: list[str | None] = []
        self.link = ""
        self.header: dict[str, str] = {"Authorization": "RemoteAuth once"}
        self.accepted = "RemoteAuth once"
        self.moved = 0
        self.raw: bytes | None = None
        self.routes += [
            web.post("/{name}/info/lfs/objects/batch", self._batch),
            web.get("/lfs/{oid}", self._download),
        ]

    async def _batch(self, request: web.Request) -> web.Response:
        if self.moved and request.match_info["name"] == "old.git":
            return web.Response(status=self.moved, headers={"Location": request.path.replace("old", "r")})
        asked = json.loads(await request.read())
        self.authorizations.append(request.headers.get("Authorization"))
        self.batches.append(asked)
        if self.raw is not None:
            return web.Response(body=self.raw, content_type="application/vnd.git-lfs+json")
        objects = [self._object(item) for item in asked["objects"]]
        document = {"transfer": "basic", "objects": objects}
        return web.Response(body=json.dumps(document), content_type="application/vnd.git-lfs+json")

    def _object(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["oid"] not in self.objects:
            return {**item, "error": {"code": 404, "message": "Object does\nnot exist"}}
        href = self.link or f"{self.base}/lfs/{item['oid']}"
        return {
            **item,
            "actions": {"download": {"href": href, "header": self.header}},
        }

    async def _download(self, request: web.Request) -> web.Response:
        self.downloads.append(request)
        if request.headers.get("Authorization") != self.accepted:
            return web.Response(status=401)
        return web.Response(body=self.objects[request.match_info["oid"]])


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LfsHost]:
    (tmp_path / "served").mkdir()
    with LfsHost(tmp_path / "served") as running:
        yield running


@pytest.fixture
def source(tmp_path: Path, host: LfsHost) -> GitSource:
    repository = BareRepository(tmp_path / "served" / "r.git")
    commit = repository.commit(
        {
            "a.bin": pointer(CONTENT),
            "b.bin": pointer(OTHER),
            "same.bin": pointer(CONTENT),
            "lost.bin": pointer(b"lost"),
            "plain.py": b"x = 1\n",
        }
    )
    return GitSource(host.url("r.git"), commit)


async def read(
    tmp_path: Path, source: GitSource, *paths: str, **options: Any
) -> list[GitContent | ArchonError]:
    async with fetching(tmp_path / "cache", **{"lfs": True, **options}) as of:
        return await of.fetcher.fetch_many(source, [Wanted(path) for path in paths])


async def test_pointers_are_replaced_by_their_content(
    tmp_path: Path, host: LfsHost, source: GitSource
) -> None:
    answers = await read(tmp_path, source, "a.bin", "b.bin", "same.bin", "plain.py", "lost.bin")
    *found, lost = answers
    contents = [answer.content for answer in found if isinstance(answer, GitContent)]
    assert contents == [CONTENT, OTHER, CONTENT, b"x = 1\n"]
    assert isinstance(lost, ContentMissing)
    assert "\n" not in str(lost)
    (batch,) = host.batches
    assert len(batch["objects"]) == 3, "one batch, each object once"
    assert len(host.downloads) == 2


async def test_without_the_setting_a_pointer_is_its_own_error(
    tmp_path: Path, host: LfsHost, source: GitSource
) -> None:
    pointer_error, plain = await read(tmp_path, source, "a.bin", "plain.py", lfs=False)
    assert isinstance(pointer_error, LfsPointer)
    assert "--git-lfs" in str(pointer_error.hint)
    assert isinstance(plain, GitContent)
    assert host.batches == []


async def test_content_that_is_not_the_pointers_is_refused(
    tmp_path: Path, host: LfsHost, source: GitSource
) -> None:
    host.objects[oid(CONTENT)] = CONTENT[:-1] + b"!"
    host.objects[oid(OTHER)] = OTHER + b"more"
    answers = await read(tmp_path, source, "a.bin", "b.bin")
    assert [type(answer) for answer in answers] == [ChecksumMismatch, ChecksumMismatch]


@pytest.mark.parametrize("link", ["http://169.254.169.254/latest", "file:///etc/passwd", "http://10.0.0.1/x"])
async def test_links_are_held_to_the_url_policy(
    tmp_path: Path, host: LfsHost, source: GitSource, link: str
) -> None:
    host.link = link
    (answer,) = await read(tmp_path, source, "a.bin")
    assert isinstance(answer, UnsafeInput)


@pytest.mark.parametrize("hold", [0, 1, len(CONTENT), len(CONTENT) + len(OTHER) + 2000])
async def test_content_obeys_the_bound_on_held_bytes(
    tmp_path: Path, host: LfsHost, source: GitSource, hold: int
) -> None:
    async with fetching(tmp_path / "cache", lfs=True) as of:
        wanted = [Wanted("a.bin"), Wanted("b.bin")]
        answers = await of.fetcher.fetch_many(source, wanted, hold=hold)
        found = [answer for answer in answers if isinstance(answer, GitContent)]
        assert len(found) == 2
        assert sum(len(answer.content) for answer in found) <= hold
        for item, answer, content in zip(wanted, found, (CONTENT, OTHER), strict=True):
            if answer.let_go:
                assert (answer.let_go.size, answer.let_go.checksum) == (
                    len(content),
                    f"sha256:{oid(content)}",
                )
                assert await of.fetcher.read_again(source, item, answer.blob) == content
            else:
                assert answer.content == content


async def test_a_hosts_headers_do_not_become_secrets(
    tmp_path: Path, host: LfsHost, source: GitSource
) -> None:
    host.header = {"Authorization": "RemoteAuth once", "X-Word": "dead-lettered", "X-Path": "src/main.py"}
    (answer,) = await read(tmp_path, source, "a.bin")
    assert isinstance(answer, GitContent)
    said = "dead-lettered: analysis failed for src/main.py"
    assert redact(said) == said


@pytest.mark.parametrize("header", [{"X-Ticket": "a\r\nHost: x"}, {"X Ticket": "a"}, {"X-Ticket": "\u2026"}])
async def test_headers_that_http_cannot_carry(
    tmp_path: Path, host: LfsHost, source: GitSource, header: dict[str, str]
) -> None:
    host.header = header
    (answer,) = await read(tmp_path, source, "a.bin")
    assert isinstance(answer, HostMisbehaved)


@pytest.mark.parametrize("status", [301, 307, 308])
async def test_the_batch_api_of_a_renamed_repository(
    tmp_path: Path, host: LfsHost, source: GitSource, status: int
) -> None:
    host.moved = status
    (tmp_path / "served" / "old.git").symlink_to("r.git")
    (answer,) = await read(tmp_path, GitSource(host.url("old.git"), source.commit), "a.bin")
    assert isinstance(answer, GitContent)
    assert answer.content == CONTENT


async def test_our_credential_goes_to_the_batch_api_and_not_along_a_link(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    authority = trustme.CA()
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(certificate)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    commit = BareRepository(tmp_path / "served" / "r.git").commit({"a.bin": pointer(CONTENT)})
    with LfsHost(tmp_path / "served", certificate) as host:
        host.tokens["r.git"] = "hidden-token"
        token = GitCredentials(type="token", credential_ref="env:TOKEN")
        (answer,) = await read(
            tmp_path,
            GitSource(host.url("r.git"), commit, credentials=token),
            "a.bin",
            credentials={f"127.0.0.1:{host.port}": HostCredentials(refs=("env:TOKEN",))},
            secrets={"TOKEN": "hidden-token"},
            ca_file=tmp_path / "ca.pem",
        )
        assert isinstance(answer, GitContent)
        assert answer.content == CONTENT
        assert host.authorizations == ["Basic eC1hY2Nlc3MtdG9rZW46aGlkZGVuLXRva2Vu"]
        assert [request.headers["Authorization"] for request in host.downloads] == ["RemoteAuth once"]


async def test_a_link_of_the_same_origin_without_a_login_gets_ours(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    authority = trustme.CA()
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(certificate)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    commit = BareRepository(tmp_path / "served" / "r.git").commit({"a.bin": pointer(CONTENT)})
    with LfsHost(tmp_path / "served", certificate) as host:
        host.tokens["r.git"] = "hidden-token"
        host.header, host.accepted = {}, "Basic eC1hY2Nlc3MtdG9rZW46aGlkZGVuLXRva2Vu"
        token = GitCredentials(type="token", credential_ref="env:TOKEN")
        source = GitSource(host.url("r.git"), commit, credentials=token)
        options = {
            "credentials": {f"127.0.0.1:{host.port}": HostCredentials(refs=("env:TOKEN",))},
            "secrets": {"TOKEN": "hidden-token"},
            "ca_file": tmp_path / "ca.pem",
        }
        (answer,) = await read(tmp_path / "same", source, "a.bin", **options)
        assert isinstance(answer, GitContent)
        host.link = f"https://localhost:{host.port}/lfs/{oid(CONTENT)}"
        (answer,) = await read(tmp_path / "other", source, "a.bin", **options)
        assert isinstance(answer, ArchonError)
        assert [request.headers.get("Authorization") for request in host.downloads] == [host.accepted, None]


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b'{"objects": [{}]}', b"<html>", b'{"objects": 3}', b"\xff"]
)
async def test_nonsense_from_the_batch_api(
    tmp_path: Path, host: LfsHost, source: GitSource, raw: bytes
) -> None:
    host.raw = raw
    answer, plain = await read(tmp_path, source, "a.bin", "plain.py")
    assert isinstance(answer, HostMisbehaved)
    assert isinstance(plain, GitContent)


async def test_a_host_without_lfs(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    repository = BareRepository(tmp_path / "served" / "r.git")
    commit = repository.commit({"a.bin": pointer(CONTENT)})
    with GitHttpServer(tmp_path / "served") as plain:
        (answer,) = await read(tmp_path, GitSource(plain.url("r.git"), commit), "a.bin")
        assert isinstance(answer, PermanentError)


async def test_a_file_over_the_limit_is_not_downloaded(
    tmp_path: Path, host: LfsHost, source: GitSource
) -> None:
    (answer,) = await read(tmp_path, source, "a.bin", max_file_bytes=1000)
    assert isinstance(answer, ContentTooLarge)
    assert host.downloads == []


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (pointer(b"x"), Pointer(oid(b"x"), 1)),
        (pointer(b""), Pointer(oid(b""), 0)),
        (b"", None),
        (b"version https://git-lfs.github.com/spec/v1\n", None),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:../../x\nsize 1\n", None),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize -1\n", None),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize x\n", None),
        (pointer(b"x") + b" " * 2000, None),
        (b"text about\n" + pointer(b"x"), None),
    ],
)
def test_what_is_a_pointer(content: bytes, found: Pointer | None) -> None:
    assert parse_pointer(content) == found
