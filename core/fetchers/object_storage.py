"""Object storage: contents by presigned link or, with the agent's own credentials, by key; cached on disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from core.cache.counted import CountedCache
from core.cache.disk import Cached
from core.cache.flight import SingleFlight
from core.errors import (
    AccessDenied,
    ArchonError,
    ChecksumMismatch,
    ContentMissing,
    ContentTooLarge,
    PermanentError,
    RetryableError,
    UnsafeInput,
)
from core.events.request import Carrier, IndexRequest, RequestedFile
from core.fallbacks import LINK_EXPIRED
from core.fetchers.base import HEAD_BYTES, HELD_LIMIT, Fetched, StoredFile
from core.fetchers.landing import Landing
from core.progress import Listener, ObjectDownloaded, ignore
from core.retry import RetryPolicy
from core.safety.path import open_confined
from core.storage.base import ContentStorageClient
from core.storage.keys import checksum_of, object_key

if TYPE_CHECKING:
    from core.storage.links import LinkReader

_BLOCK: Final = 1 << 20
_RESIGN_HINT: Final = "set storage.bucket, so that the agent can read by key with its own credentials"


class ObjectStorageFetcher:
    """Fetches objects, each once for all who want it at the same time.

    `stores` are the buckets that the agent reads by key; a key must name its content, so that no event
    can make the agent read anything else there. `links` follows presigned links, None follows none.
    """

    carrier = Carrier.OBJECT_STORAGE

    def __init__(
        self,
        stores: Sequence[ContentStorageClient],
        links: LinkReader | None,
        cache: CountedCache | None,
        *,
        retry: RetryPolicy | None = None,
        in_flight: int = 16,
        spill: Path | None = None,
        listener: Listener = ignore,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`spill` is where a large content goes that the cache cannot take; default: the system's choice."""
        self._stores = stores
        self._links = links
        self._cache = cache
        self._retry = retry or RetryPolicy()
        self._slots = asyncio.Semaphore(in_flight)
        self._spill = spill
        self._tell = listener
        self._clock = clock
        self._flights = SingleFlight[tuple[str, int], Fetched]()

    def refuses(self, request: IndexRequest, file: RequestedFile) -> str | None:
        if file.checksum is None or file.size_bytes is None:
            return "the event carries no checksum or no size"
        refusals: list[str] = []
        for refusal in (self._refuses_key(request, file), self._refuses_link(file)):
            if refusal is None:
                return None
            refusals.append(refusal)
        return "; ".join(refusals)

    def _refuses_key(self, request: IndexRequest, file: RequestedFile) -> str | None:
        key = _key(request, file)
        if key is None:
            return "no object key"
        if checksum_of(key) != file.checksum:
            return "the object key does not name the content"
        if self._store(request) is None:
            where = request.object_storage
            return f"not its own: {where.provider} bucket {where.bucket}" if where else "no bucket is named"
        return None

    def _refuses_link(self, file: RequestedFile) -> str | None:
        if file.content_url is None:
            return "no link"
        if self._links is None:
            return "no storage is configured whose links may be followed"
        try:
            self._links.check(file.content_url)
        except UnsafeInput as error:
            return str(error)
        return None

    def _store(self, request: IndexRequest) -> ContentStorageClient | None:
        """Our own access to the bucket that the event names."""
        where = request.object_storage
        if where is None:
            return None
        for store in self._stores:
            ours = store.location
            if (ours.provider, ours.bucket) == (where.provider, where.bucket):
                return store
        return None

    async def fetch_many(
        self, request: IndexRequest, files: Sequence[RequestedFile]
    ) -> Sequence[Fetched | ArchonError]:
        return await asyncio.gather(*(self._fetch(request, file) for file in files))

    async def _fetch(self, request: IndexRequest, file: RequestedFile) -> Fetched | ArchonError:
        assert file.checksum is not None  # noqa: S101 - `refuses` was asked
        assert file.size_bytes is not None  # noqa: S101
        led = False

        async def obtain() -> Fetched:
            nonlocal led
            led = True
            return await self._obtain(request, file)

        try:
            return await self._flights.run((file.checksum, file.size_bytes), obtain)
        except ArchonError as error:
            if led:
                return error
        # The content was asked for by another event's link or key; this event's own may still work.
        try:
            return await self._obtain(request, file)
        except ArchonError as error:
            return error

    async def _obtain(self, request: IndexRequest, file: RequestedFile) -> Fetched:
        store = None if self._refuses_key(request, file) else self._store(request)
        key = _key(request, file)
        async with self._slots:
            if store and key and (path := store.local_path(key)):
                return await asyncio.to_thread(_read_local, path, file)
            if cached := await self._from_cache(file):
                return cached
            download = _Download(self, request, file, store)
            started = self._clock()
            fetched = await self._retry.run(download.attempt, "the download")
            took = self._clock() - started
            job = request.correlation_id
            size, attempts = fetched.wire_bytes, fetched.attempts
            self._tell(ObjectDownloaded(request.project_name, job, size, took, attempts))
            return fetched

    async def _from_cache(self, file: RequestedFile) -> Fetched | None:
        if self._cache is None or file.checksum is None:
            return None
        look_up = partial(self._cache.get, _hex(file), hold=HELD_LIMIT, head=HEAD_BYTES)
        found = await asyncio.to_thread(look_up)
        if not isinstance(found, Cached):
            return None
        whole = None
        if found.entry:
            whole = StoredFile(found.entry.path, found.entry.size, file.checksum, found.entry)
        return Fetched(found.content, cache_hit=True, whole=whole, checksum=file.checksum)

    def landing(self, file: RequestedFile) -> Landing:
        """Where a download of `file` lands."""
        return Landing(_hex(file), file.size_bytes or 0, self._cache, self._spill)

    @property
    def links(self) -> LinkReader | None:
        """Who follows links."""
        return self._links

    def may_follow(self, file: RequestedFile) -> bool:
        """Whether the file's link may be followed."""
        return self._refuses_link(file) is None

    async def close(self) -> None:
        if self._links:
            await self._links.close()
        for store in self._stores:
            await store.close()
        if self._cache:
            await asyncio.to_thread(self._cache.close)


class _Download:
    """One object's attempts, and what they learned."""

    def __init__(
        self,
        fetcher: ObjectStorageFetcher,
        request: IndexRequest,
        file: RequestedFile,
        store: ContentStorageClient | None,
    ) -> None:
        self._fetcher = fetcher
        self._file = file
        self._store = store
        self._key = _key(request, file)
        self._url = file.content_url if fetcher.may_follow(file) else None
        self._link_refusal: str | None = None
        self._damaged = False
        self._wire_bytes = 0

    async def attempt(self, number: int) -> Fetched:
        """Raises `RetryableError` where another attempt may help, else what is wrong for good."""
        landing = self._fetcher.landing(self._file)
        try:
            async with AsyncExitStack() as stack:
                async for block in await self._blocks(stack):
                    self._wire_bytes += len(block)
                    await landing.write(block)
            landed = await landing.finish()
        except (ChecksumMismatch, ContentTooLarge) as error:
            raise self._refetch_once(error) from None
        finally:
            await landing.abandon()
        return replace(
            landed,
            attempts=number,
            wire_bytes=self._wire_bytes,
            cache_hit=False,
            link_refusal=self._link_refusal,
        )

    def _refetch_once(self, error: PermanentError) -> ArchonError:
        """Bytes may be damaged on the way once; twice, they are wrong where they come from."""
        if self._damaged:
            return ChecksumMismatch(f"the object is not the file: {error}")
        self._damaged = True
        return RetryableError(f"damaged on the way: {error}")

    async def _blocks(self, stack: AsyncExitStack) -> AsyncIterator[bytes]:
        """The object's bytes, by link while that works, else by key."""
        links = self._fetcher.links
        if self._url and self._store and self._has_expired():
            self._url, self._link_refusal = None, LINK_EXPIRED
        if links and self._url:
            try:
                return await stack.enter_async_context(links.following(self._url))
            except AccessDenied as error:
                if self._store is None:
                    expired = " (it has expired)" if self._has_expired() else ""
                    raise AccessDenied(f"the link is refused{expired}: {error}", hint=_RESIGN_HINT) from None
                self._url, self._link_refusal = None, error.reason
        if self._store is None or self._key is None:
            raise ContentMissing("there is neither a link that may be followed nor a bucket of our own")
        return await stack.enter_async_context(self._store.download(self._key))

    def _has_expired(self) -> bool:
        expires = self._file.content_url_expires_at
        return expires is not None and expires <= datetime.now(UTC)


def _key(request: IndexRequest, file: RequestedFile) -> str | None:
    """The event's object key; for a file it refers to in Git, the one that its content would have here."""
    if file.object_key is None and file.carrier is Carrier.GIT_REFERENCE and file.checksum:
        return object_key(request.project_name, file.checksum, file.relative_path)
    return file.object_key


def _hex(file: RequestedFile) -> str:
    return (file.checksum or "").removeprefix("sha256:")


def _read_local(path: Path, file: RequestedFile) -> Fetched:
    """An object of the local store, verified where it lies; it needs no cache."""
    size = file.size_bytes or 0
    digest = hashlib.sha256()
    try:
        descriptor = open_confined(path.parent, path.name)
    except OSError as error:
        raise ContentMissing(
            f"the local store of this machine does not have it: {error.strerror}",
            hint="objects of a local store can be read on the publisher's machine only",
        ) from None
    with os.fdopen(descriptor, "rb") as stream:
        if os.fstat(descriptor).st_size != size:
            raise ChecksumMismatch(f"the stored object is not of the expected {size:,} B")
        content = stream.read(size if size <= HELD_LIMIT else HEAD_BYTES) or b""
        digest.update(content)
        while block := stream.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != _hex(file):
        raise ChecksumMismatch("the stored object is not the file's content")
    whole = None if size <= HELD_LIMIT else StoredFile(path, size, file.checksum or "")
    return Fetched(content, whole=whole, checksum=file.checksum)
