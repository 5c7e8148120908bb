"""What every `ContentStorageClient` must do. An adapter's test class inherits this and supplies one."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from io import BytesIO

import aiohttp
import pytest

from core.errors import ContentChanged, ContentMissing
from core.storage.base import ContentStorageClient
from core.storage.keys import object_key

PROJECT = "Contract tests"
CONTENTS = {
    "empty": b"",
    "one byte": b"x",
    "text": "naïve ☃\n".encode(),
    "binary": bytes(range(256)) * 10,
    "200 KB": os.urandom(200_000),
}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def key_of(content: bytes, path: str = "a.txt") -> str:
    return object_key(PROJECT, f"sha256:{sha256(content)}", path)


async def put(storage: ContentStorageClient, content: bytes, path: str = "a.txt") -> str:
    key = key_of(content, path)
    await storage.upload_bytes(key, content, sha256(content), "text/plain")
    return key


async def read(storage: ContentStorageClient, key: str) -> bytes:
    async with storage.download(key) as blocks:
        return b"".join([block async for block in blocks])


async def keys(storage: ContentStorageClient, prefix: str = "projects/") -> list[str]:
    return [item.key async for item in storage.list(prefix)]


class ContentStorageContract:
    """Inherit, and give `storage`: a client of an empty bucket."""

    @pytest.fixture
    async def storage(self) -> AsyncIterator[ContentStorageClient]:
        raise NotImplementedError
        yield  # noqa: PT022 - what is overridden tears down

    @pytest.mark.parametrize("name", CONTENTS)
    async def test_what_was_uploaded_comes_back(self, storage: ContentStorageClient, name: str) -> None:
        content = CONTENTS[name]
        key = await put(storage, content)
        assert await read(storage, key) == content
        found = await storage.exists(key)
        assert found
        assert (found.key, found.size) == (key, len(content))
        assert abs(found.modified - datetime.now(UTC)) < timedelta(minutes=1)

    @pytest.mark.parametrize("size", [0, 1000, (16 << 20) + 1])
    async def test_a_stream_is_uploaded_whole(self, storage: ContentStorageClient, size: int) -> None:
        content = os.urandom(size)
        key = key_of(content)
        await storage.upload_file(key, BytesIO(content), size, sha256(content), "application/octet-stream")
        assert sha256(await read(storage, key)) == sha256(content)

    @pytest.mark.parametrize("size", [1000, (16 << 20) + 1])
    @pytest.mark.parametrize("change", ["shorter", "longer", "other"])
    async def test_a_file_that_changed_is_not_stored(
        self, storage: ContentStorageClient, size: int, change: str
    ) -> None:
        content = os.urandom(size - 1) + b"!"
        changed = {"shorter": content[:-1], "longer": content + b"x", "other": content[:-1] + b"?"}[change]
        key = key_of(content)
        with pytest.raises(ContentChanged):
            await storage.upload_file(key, BytesIO(changed), size, sha256(content), "text/plain")
        assert await storage.exists(key) is None
        assert await keys(storage) == []

    async def test_what_is_not_there_is_missing(self, storage: ContentStorageClient) -> None:
        key = key_of(b"never uploaded")
        assert await storage.exists(key) is None
        with pytest.raises(ContentMissing):
            await read(storage, key)

    async def test_uploading_again_replaces_and_renews(self, storage: ContentStorageClient) -> None:
        key = await put(storage, b"same")
        first = await storage.exists(key)
        await asyncio.sleep(1.1 if storage.local_path(key) is None else 0.01)  # HTTP dates have whole seconds
        await put(storage, b"same")
        second = await storage.exists(key)
        assert first
        assert second
        assert second.modified > first.modified
        assert await keys(storage) == [key]

    async def test_parallel_uploads_of_one_key_agree(self, storage: ContentStorageClient) -> None:
        content = os.urandom(100_000)
        await asyncio.gather(*(put(storage, content) for _ in range(8)))
        assert await read(storage, key_of(content)) == content

    async def test_list_is_by_prefix_and_in_order(self, storage: ContentStorageClient) -> None:
        made = sorted([await put(storage, bytes([number])) for number in range(5)])
        other = "projects/other-project/" + "0" * 64 + ".txt"
        await storage.upload_bytes(other, b"", sha256(b""), "text/plain")
        assert await keys(storage, "projects/contract-tests/") == made
        assert await keys(storage) == sorted([*made, other])
        assert await keys(storage, "projects/none/") == []

    async def test_delete_removes_and_does_not_mind_what_is_gone(self, storage: ContentStorageClient) -> None:
        kept, removed = await put(storage, b"kept"), await put(storage, b"removed")
        await storage.delete([removed, key_of(b"never there")])
        await storage.delete([removed])
        assert await keys(storage) == [kept]

    async def test_a_link_gives_the_object_to_anybody(self, storage: ContentStorageClient) -> None:
        key = await put(storage, b"linked")
        link = await storage.generate_presigned_url(key, 3600)
        if link is None:
            path = storage.local_path(key)
            assert path
            assert path.read_bytes() == b"linked"
            return
        assert link.url not in repr(link)
        assert timedelta(minutes=59) < link.expires_at - datetime.now(UTC) <= timedelta(hours=1)
        async with aiohttp.ClientSession() as anybody, anybody.get(link.url) as response:
            assert (response.status, await response.read()) == (200, b"linked")

    async def test_unfinished_uploads_are_abandoned_by_age(self, storage: ContentStorageClient) -> None:
        assert await storage.abandon_unfinished(datetime.now(UTC) + timedelta(hours=1)) == 0
        await self.leave_unfinished(storage)
        assert await storage.abandon_unfinished(datetime.now(UTC) - timedelta(hours=1)) == 0
        assert await storage.abandon_unfinished(datetime.now(UTC) + timedelta(hours=1)) == 1
        assert await storage.abandon_unfinished(datetime.now(UTC) + timedelta(hours=1)) == 0

    async def leave_unfinished(self, storage: ContentStorageClient) -> None:
        """Do what an upload does that dies midway."""
        raise NotImplementedError

    async def test_check_passes(self, storage: ContentStorageClient) -> None:
        await storage.check()

    async def test_the_location_names_the_bucket(self, storage: ContentStorageClient) -> None:
        assert storage.location.bucket
        assert storage.location.provider in {"s3", "minio", "gcs", "local"}

    async def test_close_is_idempotent(self, storage: ContentStorageClient) -> None:
        await storage.check()
        await storage.close()
        await storage.close()
