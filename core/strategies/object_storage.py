"""Object storage: the content is uploaded once per checksum, the event carries key and presigned link."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, BinaryIO, Final

from core.budget import Budget
from core.cache.flight import SingleFlight
from core.errors import BackendUnavailable, ContentChanged, ContentMissing
from core.events.common import ContentStrategy
from core.log.base import PartitionLag
from core.progress import Listener, ObjectUploaded, ignore
from core.repository.facts import FileFacts, Skip
from core.retry import RetryPolicy
from core.storage.base import ContentStorageClient, PresignedUrl
from core.storage.keys import object_key
from core.strategies.base import Feasibility, PublishContext, SourceFile

logger = logging.getLogger(__name__)

CHECK_S: Final = 10.0
"""Seconds for the check at the start of a run, retries included."""
SAY_AFTER_S: Final = 2.0

WHOLE_UP_TO: Final = 16 << 20
"""Bytes; a larger file is read twice, once for its checksum and once for the upload, and never held."""

_HELD_AT_ONCE: Final = 32 << 20
_BLOCK: Final = 1 << 20


class ObjectStorageStrategy:
    """Stores files under `projects/{slug}/{checksum}.{ext}`; equal content, also of one batch, once.

    An object that is there already is trusted while it is younger than `link_lifetime_s` seconds, and
    else written again: `storage gc` and lifecycle rules go by age, and must find it young.
    """

    name = ContentStrategy.OBJECT_STORAGE
    is_pure = False

    def __init__(
        self,
        storage: ContentStorageClient,
        *,
        link_lifetime_s: float = 24 * 3600.0,
        retry: RetryPolicy | None = None,
        listener: Listener = ignore,
        clock: Callable[[], float] = time.perf_counter,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        where = storage.location
        self._where = f"{where.provider} bucket {where.bucket}"
        self._storage = storage
        self._link_lifetime_s = link_lifetime_s
        self._retry = retry or RetryPolicy()
        self._tell = listener
        self._clock = clock
        self._now = now
        self._budget = Budget(_HELD_AT_ONCE)
        self._flights = SingleFlight[str, PresignedUrl | None]()
        self.uploads = 0

    async def prepare(self, context: PublishContext) -> dict[str, Any]:
        """See `Strategy.prepare`. A server that accepts and never answers is given up after `CHECK_S`."""

        async def check(_attempt: int) -> None:
            await self._storage.check()

        checking = asyncio.create_task(self._retry.run(check, "the check of the storage"))
        try:
            await asyncio.wait({checking}, timeout=SAY_AFTER_S)
            if not checking.done():
                logger.warning("waiting for object storage to answer, at most %g s", CHECK_S)
                await asyncio.wait({checking}, timeout=CHECK_S - SAY_AFTER_S)
            if not checking.done():
                raise BackendUnavailable(f"object storage did not answer within {CHECK_S:g} s")
            checking.result()
        finally:
            checking.cancel()
        return {"object_storage_config": self._storage.location}

    def feasible(self, facts: FileFacts, context: PublishContext) -> Feasibility:
        if facts.entry.unread:
            return Feasibility(False, "its content stays on the Git host")
        return Feasibility(True, f"{facts.size:,} B stored in {self._where}")

    async def pack(self, file: SourceFile, context: PublishContext) -> dict[str, Any]:
        """Raises `ContentChanged` or `ContentMissing` where the file is not what was listed any more."""
        async with self._budget.holding(min(file.facts.size, WHOLE_UP_TO)):
            content = await self._whole(file, context)
            checksum = await self._checksum(file, content, context)
            key = object_key(context.project_name, checksum, file.facts.path)
            link = await self._flights.run(key, partial(self._store, key, checksum, content, file, context))
        fields: dict[str, Any] = {"object_key": key, "checksum": checksum}
        if link:
            fields |= {
                "content_url": link.url,
                "content_url_type": self._storage.location.provider,
                "content_url_expires_at": link.expires_at,
            }
        return fields

    async def _whole(self, file: SourceFile, context: PublishContext) -> bytes | None:
        """The content of a file that is small enough to hold."""
        if file.content is not None or file.facts.size > WHOLE_UP_TO:
            return file.content

        def read() -> bytes:
            with _opened(file, context) as stream:
                return stream.read(file.facts.size + 1)

        content = await asyncio.to_thread(read)
        if len(content) != file.facts.size:
            raise ContentChanged("the file changed while it was read")
        return content

    async def _checksum(self, file: SourceFile, content: bytes | None, context: PublishContext) -> str:
        if file.facts.checksum:
            return file.facts.checksum

        def digest() -> str:
            if content is not None:
                return hashlib.sha256(content).hexdigest()
            found = hashlib.sha256()
            with _opened(file, context) as stream:
                while block := stream.read(_BLOCK):
                    found.update(block)
            return found.hexdigest()

        return f"sha256:{await asyncio.to_thread(digest)}"

    async def _store(
        self, key: str, checksum: str, content: bytes | None, file: SourceFile, context: PublishContext
    ) -> PresignedUrl | None:
        digest = checksum.removeprefix("sha256:")
        encoding = file.facts.encoding
        content_type = f"text/plain; charset={encoding}" if encoding else "application/octet-stream"

        async def upload(_attempt: int) -> PresignedUrl | None:
            started = self._clock()
            existed = await self._is_there(key, file.facts.size)
            if not existed:
                if content is not None:
                    await self._storage.upload_bytes(key, content, digest, content_type)
                else:
                    with await asyncio.to_thread(_opened, file, context) as stream:
                        await self._storage.upload_file(key, stream, file.facts.size, digest, content_type)
                self.uploads += 1
            seconds = self._clock() - started
            self._tell(ObjectUploaded(context.project_name, file.facts.size, seconds, existed))
            return await self._storage.generate_presigned_url(key, self._link_lifetime_s)

        return await self._retry.run(upload, "the upload")

    async def _is_there(self, key: str, size: int) -> bool:
        found = await self._storage.exists(key)
        if found is None or found.size != size:
            return False
        return (self._now() - found.modified).total_seconds() < self._link_lifetime_s

    async def close(self) -> None:
        await self._storage.close()


def _opened(file: SourceFile, context: PublishContext) -> BinaryIO:
    stream = context.repository.open(file.facts.entry)
    if isinstance(stream, Skip):
        raise ContentMissing(stream.detail or stream.reason.sentence)
    return stream


def drain_warning(lags: Sequence[PartitionLag], link_lifetime_s: float) -> str | None:
    """A warning where events wait longer than links live, judged by the age of the oldest unread one."""
    waiting = max((lag.lag_seconds for lag in lags if lag.lag and lag.lag_seconds is not None), default=0.0)
    if waiting <= link_lifetime_s:
        return None
    return (
        f"the oldest unread event has waited {waiting / 3600:.1f} h, presigned links live "
        f"{link_lifetime_s / 3600:.1f} h: raise storage.link_lifetime, or let agents read by key"
    )
