"""The storage and cache tables of archon.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.settings.option import Duration, Section, StringList, UrlList, option
from core.settings.url import Url

Provider = Literal["auto", "s3", "minio", "gcs", "local", "none"]
Encryption = Literal["auto", "AES256", "none"]
Positive = Annotated[int, Field(gt=0)]


class StorageSettings(Section):
    """Where contents go that are too large to travel inline.

    Credentials come from the default chain only (environment, profile, role), never from here.
    """

    provider: Provider = option(
        "auto",
        "object storage; auto is local, a directory, and none on Kafka",
        env=("CONTENT_STORAGE_PROVIDER",),
        common=True,
    )
    bucket: str | None = option(
        None, "bucket of the objects [default for local: local]", env=("CONTENT_STORAGE_BUCKET",)
    )
    region: str | None = option(None, "the bucket's region", env=("CONTENT_STORAGE_REGION",))
    endpoint: Url | None = option(
        None, "URL of the server; needed for minio", env=("CONTENT_STORAGE_ENDPOINT",)
    )
    directory: Path | None = option(
        None, "directory of the local store; default: objects in the data directory"
    )
    local_delay: Duration = option(
        "0s", "wait before every upload to the local store, to show what a slow one does"
    )
    encryption: Encryption = option(
        "auto", "server-side encryption to ask for; auto is AES256 on s3, else the bucket's own default"
    )
    link_lifetime: Duration = option("24h", "how long presigned links are valid")
    retention: Duration = option("30d", "how long objects are kept that an event refers to")
    orphan_grace: Duration = option(
        "48h", "age from which gc may remove an object without an event; more than link_lifetime"
    )
    checksums: bool = option(
        True, "let S3 and MinIO verify SHA-256 of uploads; off where the server does not know the header"
    )
    in_flight: Positive = option(16, "most transfers at once")

    read_by_key: bool = option(
        True, "let the agent use its own credentials where a link is missing, expired or refused"
    )
    allow_http: bool = option(False, "allow plain http, for development")
    link_origins: UrlList = option(
        "", "further origins that links may point to, comma-separated; the bucket's own is always allowed"
    )
    link_networks: StringList = option(
        "", "networks (CIDR) that links may lead to although they are not public, comma-separated"
    )

    def decided(self, *, shared_log: bool) -> Self:
        """These settings with `auto` decided: a directory of this machine serves the log of this machine."""
        if self.provider != "auto":
            return self
        return self.model_copy(update={"provider": "none" if shared_log else "local"})

    @model_validator(mode="after")
    def _grace_outlives_trust(self) -> Self:
        """A publisher trusts an object it finds while that is younger than a link lives."""
        if self.orphan_grace <= self.link_lifetime:
            raise ValueError("orphan_grace must be longer than link_lifetime")
        return self


class CacheSettings(Section):
    """The disk cache of fetched contents."""

    dir: Path | None = option(
        None,
        "directory of the content cache; default: content in the cache directory",
        env=("CONTENT_CACHE_DIR",),
    )
    max_size_gb: Annotated[float, Field(ge=0)] = option(
        10, "most GB (of 2^30 bytes) the cache takes; 0 turns it off", env=("CONTENT_CACHE_MAX_SIZE_GB",)
    )

    @property
    def max_bytes(self) -> int:
        """The cap in bytes."""
        return int(self.max_size_gb * (1 << 30))
