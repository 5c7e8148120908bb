"""From settings to a storage client, and to the policy for links that lead to its bucket."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from core.errors import ConfigurationError
from core.safety.url import Network, UrlPolicy
from core.settings.storage import StorageSettings
from core.storage.base import ContentStorageClient
from core.storage.local import BUCKET, LocalStorageClient

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def new_storage(settings: StorageSettings, directory: Path) -> ContentStorageClient | None:
    """The client that the settings ask for, None for none; `directory` is where a local store is.

    The provider is decided: see `Settings.object_storage`.

    Raises `ConfigurationError` where a setting is missing or wrong; nothing is contacted yet.
    """
    if settings.provider == "none":
        return None
    if settings.provider == "local":
        return LocalStorageClient(directory, settings.bucket or BUCKET, delay_s=settings.local_delay)
    from core.storage import s3  # who uses no S3 does not pay for its import

    adapter = {"s3": s3.S3StorageClient, "minio": s3.MinIOStorageClient, "gcs": s3.GCSStorageClient}
    return adapter[settings.provider](
        settings.bucket,
        region=settings.region,
        endpoint=settings.endpoint,
        encryption=settings.encryption,
        allow_http=settings.allow_http,
        in_flight=settings.in_flight,
        checksums=settings.checksums,
    )


def link_policy(settings: StorageSettings, environ: Mapping[str, str] | None = None) -> UrlPolicy | None:
    """Which links may be followed: to the configured bucket and `link_origins`; None where to none.

    An endpoint that is given by address, or as localhost, opens that address. Raises `ConfigurationError`
    for a network that is none.
    """
    prefixes = (*_bucket_prefixes(settings, os.environ if environ is None else environ), *_origins(settings))
    if not prefixes:
        return None
    return UrlPolicy(
        schemes=frozenset({"https", "http"} if settings.allow_http else {"https"}),
        prefixes=prefixes,
        networks=(*_networks(settings), *_endpoint_network(settings.endpoint)),
    )


def _bucket_prefixes(settings: StorageSettings, environ: Mapping[str, str]) -> tuple[str, ...]:
    bucket = settings.bucket
    if settings.provider in {"auto", "none", "local"} or not bucket:
        return ()
    if settings.endpoint:
        return (f"{settings.endpoint.rstrip('/')}/{bucket}/",)
    if settings.provider == "gcs":
        return (f"https://storage.googleapis.com/{bucket}/",)
    region = settings.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return (
        f"https://{bucket}.s3.{region}.{domain}/",
        f"https://{bucket}.s3.{domain}/",
        f"https://s3.{region}.{domain}/{bucket}/",
    )


def _origins(settings: StorageSettings) -> tuple[str, ...]:
    return tuple(f"{origin.rstrip('/')}/" for origin in settings.link_origins)


def _networks(settings: StorageSettings) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(text) for text in settings.link_networks)
    except ValueError as error:
        raise ConfigurationError(f"storage.link_networks: {error}", hint="for example 10.0.0.0/8") from None


def _endpoint_network(endpoint: str | None) -> tuple[Network, ...]:
    host = (urlsplit(endpoint).hostname or "") if endpoint else ""
    if host == "localhost":
        return _LOOPBACK
    try:
        return (ip_network(ip_address(host)),)
    except ValueError:
        return ()
