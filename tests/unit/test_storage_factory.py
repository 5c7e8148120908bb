"""Which storage and which links the settings allow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigurationError, UnsafeInput
from core.settings import load
from core.settings.storage import StorageSettings
from core.storage.factory import link_policy, new_storage
from core.storage.local import LocalStorageClient
from core.storage.s3 import GCSStorageClient, MinIOStorageClient, S3StorageClient


def storage(**values: Any) -> StorageSettings:
    given = {f"storage.{name}": value for name, value in values.items()}
    return load(given, environ={}).settings.object_storage


def test_the_local_store_is_the_default(tmp_path: Path) -> None:
    client = new_storage(storage(), tmp_path)
    assert isinstance(client, LocalStorageClient)
    assert client.location.model_dump(exclude_none=True) == {"provider": "local", "bucket": "local"}
    assert new_storage(storage(provider="none"), tmp_path) is None


@pytest.mark.parametrize(
    ("provider", "kind"),
    [("s3", S3StorageClient), ("minio", MinIOStorageClient), ("gcs", GCSStorageClient)],
)
def test_each_provider_has_its_client(tmp_path: Path, provider: str, kind: type) -> None:
    client = new_storage(storage(provider=provider, bucket="b", endpoint="https://s.example:9000/"), tmp_path)
    assert type(client) is kind
    assert client
    assert client.location.provider == provider
    assert client.location.endpoint == "https://s.example:9000"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"provider": "s3"}, "CONTENT_STORAGE_BUCKET"),
        ({"provider": "minio", "bucket": "b"}, "CONTENT_STORAGE_ENDPOINT"),
        ({"provider": "minio", "bucket": "b", "endpoint": "http://s.example"}, "storage.allow_http"),
        ({"provider": "s3", "bucket": "b", "endpoint": "s.example"}, "CONTENT_STORAGE_ENDPOINT"),
        ({"provider": "s3", "bucket": "b", "endpoint": "https://u:p@s.example"}, "CONTENT_STORAGE_ENDPOINT"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        new_storage(storage(**values), tmp_path)
    assert named in (caught.value.hint or "")


def test_the_environment_of_the_checklist() -> None:
    environ = {
        "CONTENT_STORAGE_PROVIDER": "minio",
        "CONTENT_STORAGE_BUCKET": "content",
        "CONTENT_STORAGE_REGION": "eu-west-1",
        "CONTENT_STORAGE_ENDPOINT": "https://minio.example",
        "CONTENT_CACHE_DIR": "/var/cache/x",
        "CONTENT_CACHE_MAX_SIZE_GB": "0.5",
    }
    settings = load({}, environ=environ).settings
    found = settings.storage
    assert (found.provider, found.bucket, found.region, found.endpoint) == (
        "minio",
        "content",
        "eu-west-1",
        "https://minio.example",
    )
    assert settings.content_cache_dir == Path("/var/cache/x")
    assert settings.cache.max_bytes == 1 << 29


def test_the_grace_must_outlive_the_links() -> None:
    with pytest.raises(ConfigurationError, match="orphan_grace must be longer"):
        storage(link_lifetime="48h")
    assert storage(link_lifetime="48h", orphan_grace="50h").orphan_grace == 50 * 3600


S3 = {"provider": "s3", "bucket": "demo", "region": "eu-west-1"}
MINIO = {"provider": "minio", "bucket": "demo", "endpoint": "https://minio.example:9000"}


@pytest.mark.parametrize(
    ("values", "url"),
    [
        (S3, "https://demo.s3.eu-west-1.amazonaws.com/projects/x"),
        (S3, "https://demo.s3.amazonaws.com/projects/x"),
        (S3, "https://s3.eu-west-1.amazonaws.com/demo/projects/x"),
        ({**S3, "region": "cn-north-1"}, "https://demo.s3.cn-north-1.amazonaws.com.cn/projects/x"),
        (MINIO, "https://minio.example:9000/demo/projects/x"),
        ({"provider": "gcs", "bucket": "demo"}, "https://storage.googleapis.com/demo/projects/x"),
        ({"provider": "none", "link_origins": "https://cdn.example"}, "https://cdn.example/x"),
    ],
)
def test_links_to_the_configured_bucket_may_be_followed(values: dict[str, Any], url: str) -> None:
    policy = link_policy(storage(**values), {})
    assert policy
    policy.check(url)


@pytest.mark.parametrize(
    ("values", "url"),
    [
        (S3, "https://other.s3.eu-west-1.amazonaws.com/projects/x"),
        (S3, "https://demo.s3.us-east-1.amazonaws.com/projects/x"),
        (S3, "https://s3.eu-west-1.amazonaws.com/other/projects/x"),
        (S3, "http://demo.s3.eu-west-1.amazonaws.com/projects/x"),
        (MINIO, "https://minio.example:9000/other/x"),
        (MINIO, "https://minio.example/demo/x"),
        ({"provider": "none", "link_origins": "https://cdn.example"}, "https://cdn.example.evil.example/x"),
    ],
)
def test_other_links_may_not(values: dict[str, Any], url: str) -> None:
    policy = link_policy(storage(**values), {})
    assert policy
    with pytest.raises(UnsafeInput):
        policy.check(url)


def test_no_bucket_no_links() -> None:
    assert link_policy(storage(), {}) is None
    assert link_policy(storage(provider="none"), {}) is None


def test_an_endpoint_given_by_address_opens_that_address_only() -> None:
    values = {**MINIO, "endpoint": "http://127.0.0.1:9000", "allow_http": True}
    policy = link_policy(storage(**values), {})
    assert policy
    policy.check("http://127.0.0.1:9000/demo/x")
    policy.check_address("127.0.0.1")
    for address in ("127.0.0.2", "10.0.0.1", "::1"):
        with pytest.raises(UnsafeInput):
            policy.check_address(address)
    local = link_policy(storage(**{**values, "endpoint": "http://localhost:9000"}), {})
    assert local
    local.check_address("::1")


def test_networks_are_opened_by_name() -> None:
    policy = link_policy(storage(**MINIO, link_networks="10.0.0.0/8, fd00:1::/32"), {})
    assert policy
    policy.check_address("10.9.8.7")
    policy.check_address("fd00:1::5")
    with pytest.raises(ConfigurationError, match=r"storage\.link_networks"):
        link_policy(storage(**MINIO, link_networks="ten"), {})
