"""Packing for object storage: once per content, whole or not at all, and renewed before it can expire."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from core.errors import BackendUnavailable, ContentChanged, ContentMissing
from core.events.v2 import STRATEGY_FIELDS, FileV2
from core.log.base import PartitionLag
from core.repository.discover import open_repository
from core.repository.facts import Entry, FileFacts, Repository, Skip
from core.retry import RetryPolicy
from core.storage.local import LocalStorageClient
from core.storage.s3 import S3StorageClient
from core.strategies.base import PublishContext, SourceFile, wire_file
from core.strategies.object_storage import WHOLE_UP_TO, ObjectStorageStrategy, drain_warning
from tests.repositories import write
from tests.servers.fault_proxy import Reset, Status
from tests.servers.fault_proxy import fault_proxy as running_proxy
from tests.servers.s3 import S3Server
from tests.servers.seaweedfs import GROUP


def identity(moment: datetime) -> datetime:
    return moment


async def no_sleep(_seconds: float) -> None:
    return None


def context(repository: Repository) -> PublishContext:
    return PublishContext("demo", repository, None, 1 << 20)


def source(repository: Repository, path: str, content: bytes | None = None) -> SourceFile:
    """A file as the planner hands it in: with its content, or listed only."""
    entry = next(each for each in repository.entries() if isinstance(each, Entry) and each.path == path)
    checksum = None if content is None else f"sha256:{hashlib.sha256(content).hexdigest()}"
    facts = FileFacts(entry, None, False, "utf-8", False, False, False, checksum)
    return SourceFile(facts, content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def local(tmp_path: Path) -> LocalStorageClient:
    return LocalStorageClient(tmp_path / "objects")


async def stored(client: LocalStorageClient) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    async for item in client.list("projects/"):
        path = client.local_path(item.key)
        assert path
        found[item.key] = path.read_bytes()
    return found


@pytest.mark.parametrize("size", [0, 10, WHOLE_UP_TO, WHOLE_UP_TO + 1])
async def test_a_listed_file_is_stored_whole(root: Path, local: LocalStorageClient, size: int) -> None:
    content = os.urandom(size)
    write(root, {"big.dat": content})
    strategy = ObjectStorageStrategy(local)
    with closing(open_repository(root)) as repository:
        file = source(repository, "big.dat")
        assert strategy.feasible(file.facts, context(repository)).feasible
        fields = await strategy.pack(file, context(repository))
    digest = hashlib.sha256(content).hexdigest()
    assert fields == {"object_key": f"projects/demo/{digest}.dat", "checksum": f"sha256:{digest}"}
    assert await stored(local) == {fields["object_key"]: content}
    wire = FileV2(**wire_file(file.facts, strategy.name, fields))
    required, optional = STRATEGY_FIELDS[strategy.name]
    assert required <= {name for name in required | optional if getattr(wire, name) is not None}


async def test_twenty_copies_are_uploaded_once(root: Path, local: LocalStorageClient) -> None:
    content = os.urandom(200_000)
    write(root, {f"copy{number}.bin": content for number in range(20)})
    strategy = ObjectStorageStrategy(local)
    with closing(open_repository(root)) as repository:
        about = context(repository)
        files = [source(repository, f"copy{number}.bin") for number in range(20)]
        together = await asyncio.gather(*(strategy.pack(file, about) for file in files[:10]))
        after = [await strategy.pack(file, about) for file in files[10:]]
    assert len({fields["object_key"] for fields in [*together, *after]}) == 1
    assert strategy.uploads == 1


async def test_an_object_is_trusted_while_young_and_whole(root: Path, local: LocalStorageClient) -> None:
    write(root, {"a.bin": b"content"})
    now = datetime.now(UTC)
    for clock, size_spoiled, uploads in (
        (now, False, 1),
        (now + timedelta(hours=23), False, 0),
        (now + timedelta(hours=25), False, 1),
        (now, True, 1),
    ):
        strategy = ObjectStorageStrategy(local, now=partial(identity, clock))
        with closing(open_repository(root)) as repository:
            if size_spoiled:
                (key,) = await stored(local)
                path = local.local_path(key)
                assert path
                path.write_bytes(b"tamper")
            await strategy.pack(source(repository, "a.bin"), context(repository))
        assert strategy.uploads == uploads
        assert list((await stored(local)).values()) == [b"content"]


class Meddling:
    """A repository whose file changes after it was listed."""

    def __init__(self, repository: Repository, reads: list[bytes | Skip]) -> None:
        self._repository = repository
        self._reads = reads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._repository, name)

    def open(self, entry: Entry) -> BinaryIO | Skip:
        found = self._reads.pop(0)
        return found if isinstance(found, Skip) else BytesIO(found)


@pytest.mark.parametrize("size", [100, WHOLE_UP_TO + 1])
@pytest.mark.parametrize("change", ["shorter", "longer", "other"])
async def test_a_file_that_changes_meanwhile_is_never_stored_wrong(
    root: Path, local: LocalStorageClient, size: int, change: str
) -> None:
    content = b"x" * size
    changed = {"shorter": content[:-1], "longer": content + b"x", "other": content[:-1] + b"y"}[change]
    write(root, {"a.bin": content})
    strategy = ObjectStorageStrategy(local)
    with closing(open_repository(root)) as repository:
        file = source(repository, "a.bin")
        if size <= WHOLE_UP_TO and change == "other":
            # Read once, it is what it is: the checksum belongs to the bytes that are stored.
            meddling = Meddling(repository, [changed])
            await strategy.pack(file, context(meddling))
            assert list((await stored(local)).values()) == [changed]
            return
        meddling = Meddling(repository, [changed] if size <= WHOLE_UP_TO else [content, changed])
        with pytest.raises(ContentChanged):
            await strategy.pack(file, context(meddling))
    assert await stored(local) == {}


async def test_a_file_that_vanished_says_so(root: Path, local: LocalStorageClient) -> None:
    write(root, {"a.bin": b"x" * 100})
    strategy = ObjectStorageStrategy(local)
    with closing(open_repository(root)) as repository:
        file = source(repository, "a.bin")
        (root / "a.bin").unlink()
        with pytest.raises(ContentMissing, match="gone when it was read"):
            await strategy.pack(file, context(repository))


@pytest.fixture
def bucket(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in seaweedfs.environ().items():
        monkeypatch.setenv(name, value)
    name = f"pack-{uuid.uuid4().hex[:12]}"
    seaweedfs.client().create_bucket(Bucket=name)
    return name


@pytest.mark.xdist_group(GROUP)
async def test_upload_faults_are_outlived(root: Path, bucket: str, seaweedfs: S3Server) -> None:
    content = os.urandom(300_000)
    write(root, {"a.bin": content})
    async with running_proxy(seaweedfs.port) as proxy:
        client = S3StorageClient(bucket, region="us-east-1", endpoint=proxy.endpoint, allow_http=True)
        strategy = ObjectStorageStrategy(client, retry=RetryPolicy(sleep=no_sleep))
        with closing(open_repository(root)) as repository:
            proxy.script.extend([Status(503), None, Reset()])
            fields = await strategy.pack(source(repository, "a.bin"), context(repository))
            assert fields["content_url_type"] == "s3"
            lifetime = fields["content_url_expires_at"] - datetime.now(UTC)
            assert timedelta(hours=23) < lifetime <= timedelta(hours=24)
            async with client.download(fields["object_key"]) as blocks:
                assert b"".join([block async for block in blocks]) == content
            proxy.script.extend([Status(500)] * 9)
            with pytest.raises(BackendUnavailable):
                await strategy.pack(replace(source(repository, "a.bin")), context(repository))
        await strategy.close()


@pytest.mark.xdist_group(GROUP)
async def test_damage_on_the_way_is_caught_by_the_server(bucket: str, seaweedfs: S3Server) -> None:
    client = S3StorageClient(bucket, region="us-east-1", endpoint=seaweedfs.endpoint, allow_http=True)
    promised = hashlib.sha256(b"what was meant").hexdigest()
    with pytest.raises(BackendUnavailable, match=r"BadDigest|Mismatch"):
        await client.upload_bytes("projects/demo/x.bin", b"what arrives", promised, "text/plain")
    assert await client.exists("projects/demo/x.bin") is None
    await client.close()


@pytest.mark.xdist_group(GROUP)
async def test_an_object_says_what_it_is(bucket: str, seaweedfs: S3Server, root: Path) -> None:
    content = "größer\n".encode() * 20_000
    write(root, {"a.html": content})
    client = S3StorageClient(bucket, region="us-east-1", endpoint=seaweedfs.endpoint, allow_http=True)
    strategy = ObjectStorageStrategy(client)
    with closing(open_repository(root)) as repository:
        fields = await strategy.pack(source(repository, "a.html"), context(repository))
    head = seaweedfs.client().head_object(Bucket=bucket, Key=fields["object_key"])
    assert head["ContentType"] == "text/plain; charset=utf-8"  # never html: a browser must not run it
    assert head["ServerSideEncryption"] == "AES256"
    assert head["Metadata"]["sha256"] == hashlib.sha256(content).hexdigest()
    await strategy.close()


def lag(messages: int, seconds: float | None) -> PartitionLag:
    return PartitionLag("t", 0, 0, 0, messages, seconds)


def test_links_that_die_before_they_are_read_are_warned_of() -> None:
    day = 24 * 3600.0
    assert drain_warning([], day) is None
    assert drain_warning([lag(5, None), lag(0, 9 * day), lag(3, day)], day) is None
    assert "waited 36.0 h, presigned links live 24.0 h" in (drain_warning([lag(1, 1.5 * day)], day) or "")
