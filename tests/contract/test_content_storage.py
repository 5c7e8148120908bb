"""The storage contract on every adapter; S3's on two independent servers that verify signatures."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.storage.base import ContentStorageClient
from core.storage.local import LocalStorageClient
from core.storage.s3 import GCSStorageClient, MinIOStorageClient, S3StorageClient
from tests.contract.content_storage import ContentStorageContract, key_of
from tests.servers.s3 import S3Server
from tests.servers.seaweedfs import GROUP


class TestLocal(ContentStorageContract):
    @pytest.fixture
    async def storage(self, tmp_path: Path) -> AsyncIterator[ContentStorageClient]:
        client = LocalStorageClient(tmp_path / "objects")
        await client.check()
        yield client
        await client.close()

    async def leave_unfinished(self, storage: ContentStorageClient) -> None:
        path = storage.local_path("x")
        assert path
        partial = path.parent.parent / ".partial"
        partial.mkdir(exist_ok=True)
        (partial / "died").write_bytes(b"half")


class OnServer(ContentStorageContract):
    """A fresh bucket of a server, through one of the adapters."""

    adapter: type[S3StorageClient]

    @pytest.fixture
    def server(self) -> S3Server:
        raise NotImplementedError

    @pytest.fixture
    async def storage(
        self, server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[ContentStorageClient]:
        for name, value in server.environ().items():
            monkeypatch.setenv(name, value)
        bucket = f"contract-{uuid.uuid4().hex[:12]}"
        self.plain = server.client()
        self.plain.create_bucket(Bucket=bucket)
        client = self.adapter(bucket, region="us-east-1", endpoint=server.endpoint, allow_http=True)
        yield client
        await client.close()

    async def leave_unfinished(self, storage: ContentStorageClient) -> None:
        self.plain.create_multipart_upload(Bucket=storage.location.bucket, Key=key_of(b"died"))


@pytest.mark.xdist_group(GROUP)
class TestS3OnSeaweedFS(OnServer):
    adapter = S3StorageClient

    @pytest.fixture
    def server(self, seaweedfs: S3Server) -> S3Server:
        return seaweedfs


@pytest.mark.xdist_group(GROUP)
class TestGCSOnSeaweedFS(OnServer):
    """Google's interoperable endpoint has no server for tests: this checks its dialect, not Google."""

    adapter = GCSStorageClient

    @pytest.fixture
    def server(self, seaweedfs: S3Server) -> S3Server:
        return seaweedfs


class TestMinIOOnMinistack(OnServer):
    adapter = MinIOStorageClient

    @pytest.fixture
    def server(self, ministack: S3Server) -> S3Server:
        return ministack
