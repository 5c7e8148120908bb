"""Objects as files of a directory: large files work with no server at all, for readers of this machine."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

import aiofiles

from core.errors import BackendUnavailable, ContentChanged, ContentMissing
from core.events.v2 import ObjectStorageConfig
from core.safety.path import check_relative_path, open_confined
from core.safety.private import make_private
from core.storage.base import PresignedUrl, StoredObject

BUCKET: Final = "local"
_BLOCK: Final = 1 << 20
_PARTIAL: Final = ".partial"


class LocalStorageClient:
    """A bucket as a directory below `root`. There are no links: readers come by key.

    Objects are written aside, made durable and renamed, so that a crash leaves none half-written.
    """

    def __init__(self, root: Path, bucket: str = BUCKET, *, delay_s: float = 0.0) -> None:
        """`delay_s` is waited before every upload, to show what a slow store does."""
        self._delay_s = delay_s
        self._bucket = bucket
        self._directory = root / check_relative_path(bucket)
        self._partial = root / _PARTIAL

    @property
    def location(self) -> ObjectStorageConfig:
        return ObjectStorageConfig(provider="local", bucket=self._bucket)

    async def upload_bytes(self, key: str, content: bytes, checksum: str, content_type: str) -> None:
        await self.upload_file(key, BytesIO(content), len(content), checksum, content_type)

    async def upload_file(
        self, key: str, source: BinaryIO, size: int, checksum: str, content_type: str
    ) -> None:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        await asyncio.to_thread(self._write, key, source, size, checksum)

    def _write(self, key: str, source: BinaryIO, size: int, checksum: str) -> None:
        target = self._directory / check_relative_path(key)
        partial = self._partial / secrets.token_hex(16)
        try:
            for directory in (self._partial, target.parent):
                make_private(directory)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    _copy(source, file, size, checksum)
                    file.flush()
                    os.fsync(file.fileno())
                partial.rename(target)
            except BaseException:
                with suppress(OSError):
                    partial.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise _unavailable(self._directory, error) from None

    @asynccontextmanager
    async def download(self, key: str) -> AsyncGenerator[AsyncGenerator[bytes, None], None]:
        descriptor = await asyncio.to_thread(self._open, key)
        async with aiofiles.open(descriptor, "rb", buffering=0) as file:

            async def blocks() -> AsyncGenerator[bytes, None]:
                while block := await file.read(_BLOCK):
                    yield block

            yield blocks()

    def _open(self, key: str) -> int:
        try:
            return open_confined(self._directory, key)
        except FileNotFoundError:
            raise ContentMissing(f"the local store has no object {key}") from None
        except OSError as error:
            raise _unavailable(self._directory, error) from None

    async def exists(self, key: str) -> StoredObject | None:
        return await asyncio.to_thread(self._stat, key)

    def _stat(self, key: str) -> StoredObject | None:
        try:
            status = (self._directory / check_relative_path(key)).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unavailable(self._directory, error) from None
        if not stat.S_ISREG(status.st_mode):
            return None
        return StoredObject(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    async def generate_presigned_url(self, object_key: str, expires_in: float) -> PresignedUrl | None:
        return None

    async def delete(self, keys: Sequence[str]) -> None:
        await asyncio.to_thread(self._remove, keys)

    def _remove(self, keys: Sequence[str]) -> None:
        try:
            for key in keys:
                (self._directory / check_relative_path(key)).unlink(missing_ok=True)
        except OSError as error:
            raise _unavailable(self._directory, error) from None

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        try:
            found = await asyncio.to_thread(lambda: sorted(_files(self._directory, prefix)))
        except OSError as error:
            raise _unavailable(self._directory, error) from None
        for key in found:
            if item := self._stat(key):
                yield item

    async def abandon_unfinished(self, before: datetime) -> int:
        def sweep() -> int:
            left = [path for path in self._partial.glob("*") if path.lstat().st_mtime < before.timestamp()]
            for path in left:
                path.unlink(missing_ok=True)
            return len(left)

        try:
            return await asyncio.to_thread(sweep)
        except OSError as error:
            raise _unavailable(self._directory, error) from None

    async def check(self) -> None:
        def writable() -> None:
            make_private(self._directory)
            if not os.access(self._directory, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        try:
            await asyncio.to_thread(writable)
        except OSError as error:
            raise _unavailable(self._directory, error) from None

    def local_path(self, key: str) -> Path | None:
        return self._directory / check_relative_path(key)

    async def close(self) -> None:
        return None


def _copy(source: BinaryIO, target: BinaryIO, size: int, checksum: str) -> None:
    digest = hashlib.sha256()
    copied = 0
    while block := source.read(_BLOCK):
        digest.update(block)
        copied += len(block)
        if copied > size:
            break
        target.write(block)
    if copied != size or digest.hexdigest() != checksum:
        raise ContentChanged("the file changed while it was uploaded")


def _files(directory: Path, prefix: str) -> Iterator[str]:
    for parent, _, names in os.walk(directory):
        for name in names:
            key = (Path(parent) / name).relative_to(directory).as_posix()
            if key.startswith(prefix):
                yield key


def _unavailable(directory: Path, error: OSError) -> BackendUnavailable:
    return BackendUnavailable(
        f"the local object store {directory} cannot be used: {error.strerror}",
        hint="see storage.directory, the disk and its free space",
    )
