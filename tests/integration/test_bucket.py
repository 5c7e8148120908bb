"""Buckets set up and judged on real servers; what is wrong is said by the setting that changes it."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from core.errors import AccessDenied, ArchonError, BackendUnavailable, ConfigurationError
from core.storage.bucket import BucketAdmin
from core.storage.s3 import MinIOStorageClient, S3StorageClient
from tests.contract.content_storage import put, read, sha256
from tests.servers import ministack as ministack_server
from tests.servers.fault_proxy import Status
from tests.servers.fault_proxy import fault_proxy as running_proxy
from tests.servers.ports import free_port
from tests.servers.s3 import S3Server
from tests.servers.seaweedfs import GROUP

DAY = 24 * 3600.0
DOCS = Path(__file__).resolve().parents[2] / "docs" / "operations" / "object-storage.md"

Connect = Callable[..., S3StorageClient]


@pytest.fixture
async def connect(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connect]:
    """Makes clients of a server, as its administrator or with other keys."""
    made: list[S3StorageClient] = []

    def new(
        server: S3Server, bucket: str, keys: tuple[str, str] | None = None, **options: Any
    ) -> S3StorageClient:
        for name, value in server.environ().items():
            monkeypatch.setenv(name, value)
        if keys:
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys[0])
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys[1])
        options = {"region": "us-east-1", "endpoint": server.endpoint, "allow_http": True, **options}
        made.append(S3StorageClient(bucket, **options))
        return made[-1]

    yield new
    for client in made:
        await client.close()


def fresh() -> str:
    return f"setup-{uuid.uuid4().hex[:12]}"


async def test_setup_makes_a_private_encrypted_bucket_that_empties_itself(
    ministack: S3Server, connect: Connect
) -> None:
    bucket = fresh()
    admin = BucketAdmin(connect(ministack, bucket), 30 * DAY)
    assert {(found.name, found.state) for found in await admin.setup()} == {
        ("public access", "ok"),
        ("default encryption", "ok"),
        ("lifecycle", "ok"),
    }
    plain = ministack.client()
    block = plain.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True}
    (rule,) = plain.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert (rule["Expiration"]["Days"], rule["Filter"]["Prefix"]) == (30, "projects/")
    assert rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 1
    assert await admin.setup() == await admin.verify()


async def test_verify_tells_what_is_wrong_and_changes_nothing(ministack: S3Server, connect: Connect) -> None:
    bucket = fresh()
    plain = ministack.client()
    plain.create_bucket(Bucket=bucket)
    plain.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": False,
            "RestrictPublicBuckets": True,
        },
    )
    client = connect(ministack, bucket)
    before = {found.name: found.state for found in await BucketAdmin(client, 30 * DAY).verify()}
    assert (before["public access"], before["lifecycle"]) == ("wrong", "wrong")
    assert not plain.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"][
        "BlockPublicPolicy"
    ]
    after = await BucketAdmin(client, 30 * DAY).setup()
    assert {found.state for found in after} == {"ok"}
    changed = {found.name: found.state for found in await BucketAdmin(client, 7 * DAY).verify()}
    assert changed["lifecycle"] == "wrong"


async def test_other_lifecycle_rules_stay(ministack: S3Server, connect: Connect) -> None:
    bucket = fresh()
    plain = ministack.client()
    plain.create_bucket(Bucket=bucket)
    other = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}
    plain.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [other]})
    await BucketAdmin(connect(ministack, bucket), 10 * DAY).setup()
    rules = plain.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert {rule["ID"] for rule in rules} == {"logs", "archon-retention"}


@pytest.mark.xdist_group(GROUP)
async def test_what_a_server_does_not_offer_is_said(seaweedfs: S3Server, connect: Connect) -> None:
    admin = BucketAdmin(connect(seaweedfs, fresh()), 30 * DAY)
    found = {finding.name: finding.state for finding in await admin.setup()}
    assert found == {"public access": "not offered", "default encryption": "ok", "lifecycle": "ok"}


@pytest.mark.xdist_group(GROUP)
async def test_a_missing_bucket_names_its_setting(seaweedfs: S3Server, connect: Connect) -> None:
    with pytest.raises(ConfigurationError, match="does not exist") as caught:
        await connect(seaweedfs, fresh()).check()
    assert "CONTENT_STORAGE_BUCKET" in (caught.value.hint or "")
    assert "storage setup" in (caught.value.hint or "")


@pytest.mark.xdist_group(GROUP)
@pytest.mark.parametrize("keys", [("nobody", "x" * 20), ("test-admin", "wrong-secret-key")])
async def test_unknown_credentials_are_configuration(
    seaweedfs: S3Server, connect: Connect, keys: tuple[str, str]
) -> None:
    bucket = fresh()
    seaweedfs.client().create_bucket(Bucket=bucket)
    with pytest.raises(ConfigurationError, match="credentials") as caught:
        await connect(seaweedfs, bucket, keys).check()
    assert "AWS_ACCESS_KEY_ID" in (caught.value.hint or "")
    assert keys[1] not in f"{caught.value} {caught.value.hint}"


async def test_no_credentials_at_all(
    connect: Connect, ministack: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(ministack, "any-bucket")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigurationError, match="no credentials"):
        await client.check()


async def test_nobody_at_the_endpoint(connect: Connect, ministack: S3Server) -> None:
    client = connect(ministack, "any-bucket", endpoint=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(BackendUnavailable, match="failed") as caught:
        await client.check()
    assert "CONTENT_STORAGE_ENDPOINT" in (caught.value.hint or "")
    with pytest.raises(BackendUnavailable, match="cannot be reached"):
        await BucketAdmin(client, DAY).setup()


def refusal(status: int, code: str, **headers: str) -> Status:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Status(status, named, f"<Error><Code>{code}</Code></Error>".encode())


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (
            refusal(301, "", x_amz_bucket_region="eu-west-1"),
            ConfigurationError,
            "in eu-west-1, not in us-east-1",
        ),
        (refusal(400, "AuthorizationHeaderMalformed"), ConfigurationError, "is elsewhere"),
        (refusal(403, "RequestTimeTooSkewed"), ConfigurationError, "clock"),
        (refusal(403, "AccessDenied"), ConfigurationError, "no access to the bucket"),
        (refusal(400, "InvalidBucketName"), ConfigurationError, "no valid bucket name"),
        (refusal(503, "SlowDown", Retry_After="9"), BackendUnavailable, "SlowDown"),
        (Status(500, {}, b"not XML at all \xff"), BackendUnavailable, "500"),
        (Status(418), ArchonError, "418"),
    ],
)
async def test_what_a_server_refuses_is_told_by_the_setting(
    connect: Connect, ministack: S3Server, answer: Status, kind: type[ArchonError], said: str
) -> None:
    async with running_proxy(ministack.port, answer) as proxy:
        with pytest.raises(kind, match=said):
            await connect(ministack, "any-bucket", endpoint=proxy.endpoint).check()


def policies() -> dict[str, Any]:
    """The IAM policies that the manual gives, by the name in the line above each."""
    text = DOCS.read_text(encoding="utf-8")
    found = re.findall(r"^### Policy: (\w+)\n.*?```json\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    return {name: json.loads(policy) for name, policy in found}


def allowed(server: S3Server, name: str, bucket: str) -> tuple[str, str]:
    """Keys of a new user with one of the manual's policies."""
    policy = json.dumps(policies()[name]).replace("demo-content", bucket)
    return ministack_server.new_user(server, f"{name}-{uuid.uuid4().hex[:8]}", json.loads(policy))


async def test_the_manual_s_policies_are_enough_and_no_more(ministack: S3Server, connect: Connect) -> None:
    bucket = fresh()
    operator = connect(ministack, bucket, allowed(ministack, "operator", bucket))
    await BucketAdmin(operator, 30 * DAY).setup()

    publisher = connect(ministack, bucket, allowed(ministack, "publisher", bucket))
    await publisher.check()
    key = await put(publisher, b"published")
    large, large_key = b"x" * ((16 << 20) + 1), "projects/demo/large.bin"
    await publisher.upload_file(large_key, BytesIO(large), len(large), sha256(large), "text/plain")
    assert await publisher.exists(key)
    assert await publisher.exists("projects/demo/none.bin") is None
    with pytest.raises(AccessDenied):
        await publisher.delete([key])

    consumer = connect(ministack, bucket, allowed(ministack, "consumer", bucket))
    await consumer.check()
    assert await read(consumer, key) == b"published"
    with pytest.raises(AccessDenied):
        await put(consumer, b"forged")
    with pytest.raises(AccessDenied):
        await consumer.delete([key])

    assert [item.key async for item in operator.list("projects/")] == sorted([key, large_key])
    await operator.delete([key])
    assert await publisher.exists(key) is None


def test_minio_needs_no_key_service() -> None:
    client = MinIOStorageClient("b", endpoint="https://minio.example")
    assert not client.encrypts
    assert MinIOStorageClient("b", endpoint="https://minio.example", encryption="AES256").encrypts
