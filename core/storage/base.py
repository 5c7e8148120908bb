"""The port of an object storage. `tests/contract/content_storage.py` says what every adapter must do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from core.events.v2 import ObjectStorageConfig


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of the storage: its size in bytes, and when it was last written."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class PresignedUrl:
    """A link that gives whoever has it the object until `expires_at`; a secret, so not in its repr."""

    url: str = field(repr=False)
    expires_at: datetime


class ContentStorageClient(Protocol):
    """One bucket. Objects are whole and immutable: whoever reads sees all of an upload or nothing.

    Every method raises `ConfigurationError` where a setting must change (bucket, credentials, region),
    `BackendUnavailable` where the storage cannot be reached or written; it does not retry.
    """

    @property
    def location(self) -> ObjectStorageConfig:
        """What an event says about where its objects are."""
        ...

    async def upload_bytes(self, key: str, content: bytes, checksum: str, content_type: str) -> None:
        """Store `content`, whose SHA-256 in hex is `checksum`, for the storage to verify."""
        ...

    async def upload_file(
        self, key: str, source: BinaryIO, size: int, checksum: str, content_type: str
    ) -> None:
        """Store `size` bytes read from `source`, holding few of them in memory.

        Raises `ContentChanged` if they are not of that size and SHA-256; then nothing is stored.
        """
        ...

    def download(self, key: str) -> AbstractAsyncContextManager[AsyncGenerator[bytes, None]]:
        """The object's bytes in blocks. Raises `ContentMissing` where there is no such object."""
        ...

    async def exists(self, key: str) -> StoredObject | None:
        """What is stored under `key`, None if nothing is."""
        ...

    async def generate_presigned_url(self, object_key: str, expires_in: float) -> PresignedUrl | None:
        """A link for reading, valid for at most `expires_in` seconds; None where there are none (local)."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are gone already are no error."""
        ...

    def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        """The objects whose keys start with `prefix`, in key order."""
        ...

    async def abandon_unfinished(self, before: datetime) -> int:
        """Remove what uploads begun before then, and never finished, have left; how many there were."""
        ...

    async def check(self) -> None:
        """Whether the bucket can be used as configured."""
        ...

    def local_path(self, key: str) -> Path | None:
        """Where a reader of this machine finds the object as a file; None where it cannot."""
        ...

    async def close(self) -> None:
        """Idempotent."""
        ...
