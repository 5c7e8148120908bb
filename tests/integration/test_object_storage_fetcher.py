"""Objects come by link and by key from a real S3 server, through faults, into the cache: the right bytes."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from core.cache.counted import CountedCache
from core.cache.disk import DiskCache
from core.errors import (
    AccessDenied,
    ArchonError,
    BackendUnavailable,
    ChecksumMismatch,
    ContentMissing,
    DeadlineExceeded,
    UnsafeInput,
)
from core.events.request import RequestedFile
from core.events.v2 import ObjectStorageConfig
from core.fetchers.base import HEAD_BYTES, HELD_LIMIT, Fetched
from core.fetchers.object_storage import ObjectStorageFetcher
from core.retry import RetryPolicy
from core.safety.url import UrlPolicy
from core.storage.base import ContentStorageClient
from core.storage.keys import object_key
from core.storage.links import LinkReader
from core.storage.local import LocalStorageClient
from core.storage.s3 import S3StorageClient
from tests.requests import request_for, sha256, stored_file
from tests.servers.fault_proxy import Drip, Fault, FaultProxy, Flip, Hang, Reset, Status, Truncate, redirect
from tests.servers.fault_proxy import fault_proxy as running_proxy
from tests.servers.s3 import S3Server
from tests.servers.seaweedfs import GROUP

pytestmark = pytest.mark.xdist_group(GROUP)

LOOPBACK = (ip_network("127.0.0.0/8"),)


class Bench:
    """A bucket behind a proxy, and fetchers of it with few, quick retries."""

    def __init__(self, proxy: FaultProxy, storage: S3StorageClient, cache_dir: Path) -> None:
        self.proxy = proxy
        self.storage = storage
        self.waits: list[float] = []
        self.cache = CountedCache(DiskCache(cache_dir, 100 << 20))
        self.cache.open()
        self._opened: list[ObjectStorageFetcher] = []

    def fetcher(
        self,
        *,
        stores: list[ContentStorageClient] | None = None,
        cached: bool = True,
        deadline_s: float = 20.0,
        **options: Any,
    ) -> ObjectStorageFetcher:
        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)

        policy = UrlPolicy(
            schemes=frozenset({"http"}), prefixes=(f"{self.proxy.endpoint}/",), networks=LOOPBACK
        )
        made = ObjectStorageFetcher(
            [] if stores is None else stores,
            LinkReader(policy),
            self.cache if cached else None,
            retry=RetryPolicy(deadline_s=deadline_s, sleep=sleep),
            **options,
        )
        self._opened.append(made)
        return made

    async def file(self, content: bytes, *, lifetime: float = 3600, **fields: Any) -> RequestedFile:
        """Upload `content`, and the file as an event carries it; the upload takes no fault."""
        script = list(self.proxy.script)
        self.proxy.script.clear()
        key = object_key("demo", sha256(content), "a.txt")
        await self.storage.upload_bytes(key, content, sha256(content)[7:], "text/plain")
        link = await self.storage.generate_presigned_url(key, lifetime)
        assert link
        self.proxy.script.extend(script)
        self.proxy.requests.clear()
        return stored_file(
            content,
            **{
                "object_key": key,
                "content_url": link.url,
                "content_url_expires_at": link.expires_at,
                **fields,
            },
        )

    async def close(self) -> None:
        for each in self._opened:
            await each.close()
        await self.storage.close()
        self.cache.close()


@pytest.fixture
async def bench(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Bench]:
    for name, value in seaweedfs.environ().items():
        monkeypatch.setenv(name, value)
    bucket = f"fetch-{uuid.uuid4().hex[:12]}"
    seaweedfs.client().create_bucket(Bucket=bucket)
    async with running_proxy(seaweedfs.port) as proxy:
        storage = S3StorageClient(bucket, region="us-east-1", endpoint=proxy.endpoint, allow_http=True)
        made = Bench(proxy, storage, tmp_path / "cache")
        yield made
        await made.close()


async def fetch(
    fetcher: ObjectStorageFetcher, *files: RequestedFile, where: ObjectStorageConfig | None = None
) -> list[Fetched | ArchonError]:
    request = request_for(*files, where=where)
    for file in files:
        assert fetcher.refuses(request, file) is None
    return list(await fetcher.fetch_many(request, files))


async def fetch_one(fetcher: ObjectStorageFetcher, file: RequestedFile, **options: Any) -> Fetched:
    (answer,) = await fetch(fetcher, file, **options)
    if isinstance(answer, ArchonError):
        raise answer
    return answer


async def test_a_link_is_followed_once_and_then_cached(bench: Bench) -> None:
    content = os.urandom(200_000)
    file = await bench.file(content)
    fetcher = bench.fetcher()
    first = await fetch_one(fetcher, file)
    assert (first.content, first.cache_hit, first.attempts) == (content, False, 1)
    assert first.wire_bytes == len(content)
    assert first.checksum == file.checksum
    second = await fetch_one(fetcher, file)
    assert (second.content, second.cache_hit) == (content, True)
    assert len(bench.proxy.requests) == 1
    stats = bench.cache.stats()
    assert (stats.hits, stats.misses, stats.stored_bytes) == (1, {"absent": 1}, 200_000)


@pytest.mark.parametrize("size", [0, 1, HELD_LIMIT])
async def test_any_size_up_to_the_limit_is_held(bench: Bench, size: int) -> None:
    content = os.urandom(size)
    file = await bench.file(content)
    found = await fetch_one(bench.fetcher(), file)
    assert found.content == content
    assert found.whole is None


@pytest.mark.parametrize("cached", [True, False])
async def test_a_larger_file_is_handed_on_by_path(bench: Bench, cached: bool, tmp_path: Path) -> None:
    loop, threads = asyncio.get_running_loop(), ThreadPoolExecutor()
    loop.set_default_executor(threads)
    content = os.urandom(HELD_LIMIT + 1)
    file = await bench.file(content)
    spill = tmp_path / "spill"
    spill.mkdir()
    fetcher = bench.fetcher(cached=cached, spill=spill)
    for hit in (False, cached):
        found = await fetch_one(fetcher, file)
        assert found.content == content[:HEAD_BYTES]
        assert found.whole
        assert (found.size, found.cache_hit) == (len(content), hit)
        assert found.whole.path.read_bytes() == content
        path = found.whole.path
    assert path.is_relative_to(spill) is not cached
    del found
    threads.shutdown()  # a thread that has just answered may still hold the answer
    loop.set_default_executor(ThreadPoolExecutor())
    await asyncio.sleep(0)  # and so does the loop's own step
    assert path.exists() is cached


async def test_ten_files_of_one_content_download_once(bench: Bench) -> None:
    content = os.urandom(50_000)
    file = await bench.file(content)
    answers = await fetch(bench.fetcher(), *[file] * 10)
    assert [answer.content for answer in answers if isinstance(answer, Fetched)] == [content] * 10
    assert len(bench.proxy.requests) == 1


async def test_own_credentials_serve_where_there_is_no_link(bench: Bench) -> None:
    content = os.urandom(5000)
    file = await bench.file(content, content_url=None, content_url_expires_at=None)
    fetcher = bench.fetcher(stores=[bench.storage])
    assert (await fetch_one(fetcher, file, where=bench.storage.location)).content == content


@pytest.mark.parametrize(
    "faults",
    [
        [Status(503)],
        [Status(500), Status(503)],
        [Status(429)],
        [Reset()],
        [Reset(after=10_000)],
        [Truncate(after=10_000)],
        [Flip(offset=12_345)],
        [Status(503), Flip(offset=0)],
    ],
)
async def test_passing_faults_are_outlived(bench: Bench, faults: list[Fault]) -> None:
    content = os.urandom(50_000)
    file = await bench.file(content)
    bench.proxy.script.extend(faults)
    found = await fetch_one(bench.fetcher(), file)
    assert found.content == content
    assert len(bench.proxy.requests) == len(faults) + 1
    # A connection that breaks before any answer is replaced by aiohttp itself, once.
    unseen = faults.count(Reset())
    assert found.attempts == len(faults) + 1 - unseen
    assert len(bench.waits) == len(faults) - unseen


async def test_a_large_file_survives_faults_midway(bench: Bench) -> None:
    content = os.urandom(HELD_LIMIT + 3)
    file = await bench.file(content)
    bench.proxy.script.extend([Reset(after=5 << 20), Flip(offset=6 << 20)])
    found = await fetch_one(bench.fetcher(), file)
    assert found.whole
    assert found.whole.path.read_bytes() == content
    stats = bench.cache.stats()
    assert (stats.entries, stats.reserved_bytes) == (1, 0)


async def test_retry_after_is_kept_to(bench: Bench) -> None:
    file = await bench.file(b"content")
    bench.proxy.script.extend([Status(503, {"Retry-After": "7"}), Status(429, {"Retry-After": "3"})])
    await fetch_one(bench.fetcher(), file)
    assert bench.waits == [7.0, 3.0]


async def test_a_wait_past_the_deadline_is_not_begun(bench: Bench) -> None:
    file = await bench.file(b"content")
    bench.proxy.script.append(Status(503, {"Retry-After": "86400"}))
    with pytest.raises(BackendUnavailable):
        await fetch_one(bench.fetcher(), file)
    assert not bench.waits


async def test_three_attempts_are_all(bench: Bench) -> None:
    file = await bench.file(b"content")
    bench.proxy.script.extend([Status(500)] * 9)
    with pytest.raises(BackendUnavailable, match="500") as caught:
        await fetch_one(bench.fetcher(), file)
    assert len(bench.proxy.requests) == 3
    assert caught.value.attempts == 3, "what a dead letter says"


@pytest.mark.parametrize("fault", [Drip(0.05), Hang()])
@pytest.mark.parametrize("size", [5000, HELD_LIMIT + 1])
async def test_a_server_that_drips_or_hangs_holds_no_slot_past_the_deadline(
    bench: Bench, fault: Fault, size: int
) -> None:
    file = await bench.file(os.urandom(size))
    other = await bench.file(b"other")
    bench.proxy.script.append(fault)
    fetcher = bench.fetcher(deadline_s=0.5, in_flight=1)
    with pytest.raises(DeadlineExceeded):
        await fetch_one(fetcher, file)
    fetcher._retry = replace(fetcher._retry, deadline_s=30.0)  # the slot is free again, however slow it goes
    assert (await fetch_one(fetcher, other)).content == b"other"
    assert bench.cache.stats().reserved_bytes == 0


async def test_wrong_bytes_are_refetched_once_and_then_refused(bench: Bench) -> None:
    file = await bench.file(os.urandom(20_000))
    bench.proxy.script.extend([Flip(offset=1), Flip(offset=1), None])
    with pytest.raises(ChecksumMismatch):
        await fetch_one(bench.fetcher(), file)
    assert len(bench.proxy.requests) == 2
    assert bench.cache.stats().entries == 0


@pytest.mark.parametrize("claimed", [10, 99, 101, 100_000, HELD_LIMIT + 5])
async def test_another_size_than_the_events_is_refused(bench: Bench, claimed: int) -> None:
    file = await bench.file(os.urandom(100), size_bytes=claimed)
    with pytest.raises(ChecksumMismatch):
        await fetch_one(bench.fetcher(), file)
    assert len(bench.proxy.requests) == 2
    assert bench.cache.stats().reserved_bytes == 0


async def test_a_missing_object_is_permanent(bench: Bench) -> None:
    file = await bench.file(b"removed")
    assert file.object_key
    await bench.storage.delete([file.object_key])
    bench.proxy.requests.clear()
    with pytest.raises(ContentMissing):
        await fetch_one(bench.fetcher(), file)
    assert len(bench.proxy.requests) == 1


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:1/", "file:///etc/passwd"]
)
async def test_redirects_are_not_followed(bench: Bench, target: str) -> None:
    file = await bench.file(b"content")
    bench.proxy.script.append(redirect(target))
    with pytest.raises(UnsafeInput, match="redirects are not followed"):
        await fetch_one(bench.fetcher(), file)
    assert len(bench.proxy.requests) == 1


async def expired(bench: Bench, content: bytes) -> RequestedFile:
    """A file whose link, of one second, has expired by the server's own clock."""
    file = await bench.file(content, lifetime=1)
    assert file.content_url_expires_at
    remaining = file.content_url_expires_at + timedelta(seconds=1) - datetime.now(UTC)
    await asyncio.sleep(remaining.total_seconds())  # the server's clock cannot be turned
    return file


async def test_an_expired_link_is_permanent_without_own_credentials(bench: Bench) -> None:
    file = await expired(bench, b"late")
    with pytest.raises(AccessDenied, match="has expired") as caught:
        await fetch_one(bench.fetcher(), file)
    assert "storage.bucket" in (caught.value.hint or "")
    assert len(bench.proxy.requests) == 1
    assert "Signature" not in str(caught.value)


async def test_one_event_s_expired_link_does_not_fail_another_s_good_one(bench: Bench) -> None:
    content = b"late for one of them"
    late, good = await expired(bench, content), await bench.file(content)
    first, second = await fetch(bench.fetcher(), late, good)
    assert isinstance(first, AccessDenied)
    assert isinstance(second, Fetched)
    assert second.content == content


async def test_an_expired_link_is_not_the_end_with_own_credentials(bench: Bench) -> None:
    file = await expired(bench, b"late")
    fetcher = bench.fetcher(stores=[bench.storage])
    found = await fetch_one(fetcher, file, where=bench.storage.location)
    assert (found.content, found.attempts) == (b"late", 1)
    assert len(bench.proxy.requests) == 1


async def tampered(file: RequestedFile) -> str:
    assert file.content_url
    return file.content_url[:-4] + ("0000" if not file.content_url.endswith("0000") else "1111")


async def skewed(file: RequestedFile) -> str:
    """A link as a publisher signs it whose clock is a day ahead."""
    assert file.content_url
    stamp = datetime.now(UTC).strftime("%Y%m%d")
    ahead = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y%m%d")
    return file.content_url.replace(f"X-Amz-Date={stamp}", f"X-Amz-Date={ahead}")


@pytest.mark.parametrize("spoil", [tampered, skewed])
async def test_a_refused_link_is_signed_afresh_by_whoever_can(
    bench: Bench, spoil: Callable[[RequestedFile], Awaitable[str]]
) -> None:
    good = await bench.file(b"content")
    url = await spoil(good)
    assert url != good.content_url
    bad = stored_file(b"content", object_key=good.object_key, content_url=url)
    with pytest.raises(AccessDenied):
        await fetch_one(bench.fetcher(cached=False), bad)
    able = bench.fetcher(stores=[bench.storage], cached=False)
    assert (await fetch_one(able, bad, where=bench.storage.location)).content == b"content"


async def test_a_damaged_cache_entry_is_fetched_again(bench: Bench, tmp_path: Path) -> None:
    file = await bench.file(b"content")
    fetcher = bench.fetcher()
    await fetch_one(fetcher, file)
    (entry,) = (tmp_path / "cache" / "objects").glob("*/*")
    entry.write_bytes(b"CONTENT")
    again = await fetch_one(fetcher, file)
    assert (again.content, again.cache_hit) == (b"content", False)
    assert (await fetch_one(fetcher, file)).cache_hit is True
    assert bench.cache.stats().corruptions == 1


@pytest.mark.parametrize("size", [5000, HELD_LIMIT + 1])
async def test_what_the_cache_cannot_take_is_served_all_the_same(
    bench: Bench, size: int, tmp_path: Path
) -> None:
    bench.cache.close()
    bench.cache = CountedCache(DiskCache(tmp_path / "small", 100))
    bench.cache.open()
    content = os.urandom(size)
    file = await bench.file(content)
    found = await fetch_one(bench.fetcher(), file)
    assert (found.whole.path.read_bytes() if found.whole else found.content) == content
    assert bench.cache.stats().uncached == {"too_large": 1}


async def test_a_cache_that_broke_degrades_and_serves(bench: Bench, tmp_path: Path) -> None:
    file = await bench.file(b"content")
    (tmp_path / "cache" / "partial").rmdir()
    (tmp_path / "cache" / "partial").write_text("in the way")
    assert (await fetch_one(bench.fetcher(), file)).content == b"content"
    assert bench.cache.trouble


async def test_one_file_s_fault_costs_its_neighbours_nothing(bench: Bench) -> None:
    good = await bench.file(b"good")
    gone = await bench.file(b"gone")
    assert gone.object_key
    await bench.storage.delete([gone.object_key])
    first, second, third = await fetch(bench.fetcher(), good, gone, good)
    assert isinstance(first, Fetched)
    assert isinstance(second, ContentMissing)
    assert isinstance(third, Fetched)


async def test_what_is_refused_before_it_is_asked(bench: Bench) -> None:
    file = await bench.file(b"content")
    ours = bench.storage.location
    able = bench.fetcher(stores=[bench.storage])
    linkless = {"content_url": None, "object_key": file.object_key}
    cases: list[tuple[dict[str, Any], ObjectStorageConfig | None, str]] = [
        ({"checksum": None, "content_url": file.content_url}, ours, "no checksum"),
        ({"size_bytes": None, "content_url": file.content_url}, ours, "no size"),
        ({"content_url": "https://evil.example/x"}, ours, "not allowed"),
        ({**linkless, "object_key": "projects/demo/../../etc/passwd"}, ours, "does not name the content"),
        ({**linkless, "object_key": object_key("demo", sha256(b"other"), "a")}, ours, "does not name"),
        (linkless, ObjectStorageConfig(provider="s3", bucket="somebody-elses"), "not its own"),
        (linkless, None, "no bucket is named"),
    ]
    for fields, where, reason in cases:
        refused = stored_file(b"content", **fields)
        assert reason in (able.refuses(request_for(refused, where=where), refused) or "")


async def test_the_local_store_is_read_in_place(tmp_path: Path) -> None:
    storage = LocalStorageClient(tmp_path / "objects")
    fetcher = ObjectStorageFetcher([storage], None, None)
    for content in (b"", b"small", os.urandom(HELD_LIMIT + 1)):
        key = object_key("demo", sha256(content), "a.txt")
        await storage.upload_bytes(key, content, sha256(content)[7:], "text/plain")
        file = stored_file(content, object_key=key)
        found = await fetch_one(fetcher, file, where=storage.location)
        assert (found.whole.path.read_bytes() if found.whole else found.content) == content
        assert found.cache_hit is None
        path = storage.local_path(key)
        assert path
        path.write_bytes(b"?" * len(content) if content else b"!")
        with pytest.raises(ChecksumMismatch):
            await fetch_one(fetcher, file, where=storage.location)
        path.unlink()
        with pytest.raises(ContentMissing) as caught:
            await fetch_one(fetcher, file, where=storage.location)
        assert "publisher's machine" in (caught.value.hint or "")
    await fetcher.close()
