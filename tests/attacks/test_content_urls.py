"""Links from strangers lead nowhere but to the configured bucket: by name, address, redirect or DNS."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from core.errors import ArchonError, UnsafeInput
from core.events.v2 import ObjectStorageConfig
from core.fetchers.base import Fetched
from core.fetchers.object_storage import ObjectStorageFetcher
from core.retry import RetryPolicy
from core.safety.url import UrlPolicy
from core.storage.keys import object_key
from core.storage.links import LinkReader
from core.storage.local import LocalStorageClient
from tests.requests import request_for, sha256, stored_file
from tests.servers.fault_proxy import Status, redirect
from tests.servers.fault_proxy import fault_proxy as running_proxy

CONTENT = b"what the event asks for"
PUBLIC = "https://bucket.example/"
METADATA = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"


def fetcher(**policy: Any) -> ObjectStorageFetcher:
    links = LinkReader(UrlPolicy(**policy))
    return ObjectStorageFetcher([], links, None, retry=RetryPolicy(attempts=1, deadline_s=5.0))


async def ask(fetcher: ObjectStorageFetcher, url: str) -> Fetched | ArchonError:
    """What comes of a file with this link, whether it is refused first or at the attempt."""
    file = stored_file(CONTENT, content_url=url)
    request = request_for(file)
    refusal = fetcher.refuses(request, file)
    if refusal is not None:
        return UnsafeInput(refusal)
    (answer,) = await fetcher.fetch_many(request, [file])
    return answer


@pytest.mark.parametrize(
    "url",
    [
        METADATA,
        "https://169.254.169.254/x",
        "https://[::ffff:169.254.169.254]/x",
        "https://[64:ff9b::a9fe:a9fe]/x",
        "https://[2002:a9fe:a9fe::]/x",
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://10.0.0.1/x",
        "https://[::1]/x",
        "file:///etc/passwd",
        "https://bucket.example@127.0.0.1/x",
        "https://bucket.example.evil.example/x",
        "https://bucket.example:8443/x",
        "http://bucket.example/x",
        "gopher://bucket.example/x",
        "https://bucket.example/../../x",
        "https://bucket.example/%2e%2e/x",
        "https://bucket.example/x\r\nX-Injected: 1",
    ],
)
async def test_a_link_elsewhere_is_refused_before_anything_is_resolved(url: str) -> None:
    def lookup(host: str, port: int) -> Sequence[str]:
        raise AssertionError(f"{host} was looked up")

    hostile = fetcher(prefixes=(PUBLIC,), lookup=lookup)
    assert isinstance(await ask(hostile, url), UnsafeInput)
    await hostile.close()


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        ["10.1.2.3"],
        ["100.64.0.1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["8.8.8.8", "127.0.0.1"],
    ],
)
async def test_a_good_name_with_a_bad_address_is_refused(addresses: list[str]) -> None:
    asked: list[str] = []

    def lookup(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return addresses

    hostile = fetcher(prefixes=(PUBLIC,), lookup=lookup)
    answer = await ask(hostile, f"{PUBLIC}x")
    assert isinstance(answer, UnsafeInput)
    assert "not public" in str(answer)
    assert asked == ["bucket.example"]
    await hostile.close()


async def test_a_name_is_resolved_once_so_that_it_cannot_change_its_mind() -> None:
    """DNS rebinding: the second answer, which would be the metadata service, is never asked for."""
    async with running_proxy(1, *[Status(200, {}, CONTENT)] * 3) as proxy:
        answers = iter([["127.0.0.1"], ["169.254.169.254"]])

        def lookup(host: str, port: int) -> Sequence[str]:
            return next(answers)

        careful = fetcher(
            schemes=frozenset({"http"}),
            prefixes=(f"http://bucket.example:{proxy.port}/",),
            networks=(ip_network("127.0.0.1/32"),),
            lookup=lookup,
        )
        for _ in range(2):
            answer = await ask(careful, f"http://bucket.example:{proxy.port}/x")
            assert isinstance(answer, Fetched)
            assert answer.content == CONTENT
        await careful.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_leads_to_the_metadata_service(status: int) -> None:
    async with running_proxy(1) as proxy:
        proxy.script.append(Status(status, redirect(METADATA).headers))
        careful = fetcher(
            schemes=frozenset({"http"}),
            prefixes=(f"{proxy.endpoint}/",),
            networks=(ip_network("127.0.0.1/32"),),
        )
        assert isinstance(await ask(careful, f"{proxy.endpoint}/x"), UnsafeInput)
        assert len(proxy.requests) == 1
        await careful.close()


async def test_a_proxy_from_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_proxy(1) as spy, running_proxy(1, Status(200, {}, CONTENT)) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, spy.endpoint)
        careful = fetcher(
            schemes=frozenset({"http"}),
            prefixes=(f"{server.endpoint}/",),
            networks=(ip_network("127.0.0.1/32"),),
        )
        assert isinstance(await ask(careful, f"{server.endpoint}/x"), Fetched)
        assert not spy.requests
        await careful.close()


async def test_an_answer_that_never_ends_is_cut_at_the_event_s_size() -> None:
    bomb = CONTENT + b"\0" * (4 << 20)
    async with running_proxy(1, Status(200, {}, bomb), Status(200, {}, bomb)) as proxy:
        careful = fetcher(
            schemes=frozenset({"http"}),
            prefixes=(f"{proxy.endpoint}/",),
            networks=(ip_network("127.0.0.1/32"),),
        )
        answer = await ask(careful, f"{proxy.endpoint}/x")
        assert isinstance(answer, ArchonError)
        await careful.close()


@pytest.fixture
async def store(tmp_path: Path) -> LocalStorageClient:
    """A store beside a file that must never come out of it."""
    (tmp_path / "secret").write_bytes(CONTENT)
    client = LocalStorageClient(tmp_path / "objects")
    await client.check()
    return client


@pytest.mark.parametrize(
    "key",
    [
        "../secret",
        "../../secret",
        "/etc/passwd",
        "projects/../../../secret",
        f"projects/demo/{'0' * 64}.txt",
        "projects/demo/\0.txt",
        "",
    ],
)
async def test_a_key_reads_nothing_but_its_content(store: LocalStorageClient, key: str) -> None:
    reader = ObjectStorageFetcher([store], None, None)
    file = stored_file(CONTENT, object_key=key)
    assert reader.refuses(request_for(file, where=store.location), file)


async def test_a_link_in_the_store_is_not_followed(store: LocalStorageClient, tmp_path: Path) -> None:
    key = object_key("demo", sha256(CONTENT), "a.txt")
    path = store.local_path(key)
    assert path
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "secret")
    reader = ObjectStorageFetcher([store], None, None)
    file = stored_file(CONTENT, object_key=key)
    (answer,) = await reader.fetch_many(request_for(file, where=store.location), [file])
    assert isinstance(answer, ArchonError)


async def test_another_bucket_than_ours_is_not_read_with_our_rights(store: LocalStorageClient) -> None:
    reader = ObjectStorageFetcher([store], None, None)
    file = stored_file(CONTENT, object_key=object_key("demo", sha256(CONTENT), "a.txt"))
    for where in (
        ObjectStorageConfig(provider="s3", bucket="local"),
        ObjectStorageConfig(provider="local", bucket="other"),
    ):
        assert "not its own" in (reader.refuses(request_for(file, where=where), file) or "")


async def test_no_signature_reaches_a_log_or_an_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    canary = "c4n4rys1gn4tur3"
    async with running_proxy(1, Status(403), Status(500), Status(404)) as proxy:
        careful = fetcher(
            schemes=frozenset({"http"}),
            prefixes=(f"{proxy.endpoint}/",),
            networks=(ip_network("127.0.0.1/32"),),
        )
        url = f"{proxy.endpoint}/x?X-Amz-Signature={canary}"
        answers = [await ask(careful, url) for _ in range(3)]
        answers.append(await ask(careful, f"https://evil.example/x?X-Amz-Signature={canary}"))
        await careful.close()
    told = "".join(f"{answer!r}{answer}{getattr(answer, 'hint', '')}" for answer in answers)
    assert canary not in told + caplog.text
