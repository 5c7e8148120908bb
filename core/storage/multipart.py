"""Uploads in parts: a file of any size in bounded memory, each part verified by the server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, BinaryIO, Final

from botocore.exceptions import BotoCoreError, ClientError

from core.errors import ContentChanged
from core.storage.signing import content_md5, content_sha256

PART_BYTES: Final = 8 << 20
PARTS_IN_FLIGHT: Final = 2
_MOST_PARTS: Final = 10_000


class MultipartUpload:
    """One upload; it is aborted unless every byte arrived and the whole has the expected SHA-256.

    `client` is aiobotocore's; `checksums` says whether the server verifies SHA-256 rather than MD5.
    """

    def __init__(self, client: Any, bucket: str, *, checksums: bool, encrypts: bool) -> None:
        self._client = client
        self._bucket = bucket
        self._checksums = checksums
        self._encrypts = encrypts

    async def run(self, key: str, source: BinaryIO, size: int, checksum: str, content_type: str) -> None:
        """Raises `ContentChanged`, else what aiobotocore raises."""
        options: dict[str, Any] = {"ContentType": content_type, "Metadata": {"sha256": checksum}}
        if self._checksums:
            options["ChecksumAlgorithm"] = "SHA256"
        if self._encrypts:
            options["ServerSideEncryption"] = "AES256"
        begun = await self._client.create_multipart_upload(Bucket=self._bucket, Key=key, **options)
        target = {"Bucket": self._bucket, "Key": key, "UploadId": begun["UploadId"]}
        try:
            parts = await self._send(target, source, size, checksum)
            await self._client.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})
        except BaseException:
            with suppress(BotoCoreError, ClientError):  # the lifecycle rule removes what stays
                await asyncio.shield(self._client.abort_multipart_upload(**target))
            raise

    async def _send(
        self, target: dict[str, str], source: BinaryIO, size: int, checksum: str
    ) -> list[dict[str, Any]]:
        limit = asyncio.Semaphore(PARTS_IN_FLIGHT)
        sending: list[asyncio.Task[dict[str, Any]]] = []
        try:
            parts = _parts(source, size, checksum)
            while True:
                await limit.acquire()  # before reading: what waits would be held in memory
                item = await anext(parts, None)
                if item is None:
                    break
                number, part = item
                task = asyncio.create_task(self._send_part(target, number, part))
                task.add_done_callback(lambda _: limit.release())
                sending.append(task)
                if any(done.done() and done.exception() for done in sending):
                    break
            return [await task for task in sending]
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

    async def _send_part(self, target: dict[str, str], number: int, part: bytes) -> dict[str, Any]:
        if self._checksums:
            digest = content_sha256(part)
            answer = await self._client.upload_part(
                **target, PartNumber=number, Body=part, ChecksumSHA256=digest
            )
            return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": digest}
        answer = await self._client.upload_part(
            **target, PartNumber=number, Body=part, ContentMD5=content_md5(part)
        )
        return {"PartNumber": number, "ETag": answer["ETag"]}


async def _parts(source: BinaryIO, size: int, checksum: str) -> AsyncGenerator[tuple[int, bytes], None]:
    """Numbered parts of `source`; raises `ContentChanged` at the end unless it was what was expected."""
    part_bytes = max(PART_BYTES, -(-size // _MOST_PARTS))
    digest = hashlib.sha256()
    seen = number = 0

    def read() -> bytes:
        block = source.read(min(part_bytes, size + 1 - seen))
        digest.update(block)
        return block

    while part := await asyncio.to_thread(read):
        seen += len(part)
        number += 1
        if seen > size:
            break
        yield number, part
    if seen != size or digest.hexdigest() != checksum:
        raise ContentChanged("the file changed while it was uploaded")
