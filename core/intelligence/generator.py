"""`BridgeIntelligenceGenerator`: from contents to intelligence records."""

from __future__ import annotations

import hashlib
import logging
import os
from asyncio import to_thread
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Self

from core.errors import AnalysisFailed, ArchonError, ChecksumMismatch, ContentMissing, ContentTooLarge
from core.events.codec import decode_content
from core.events.intelligence import (
    BridgeIntelligenceRequest,
    BridgeIntelligenceResponse,
    FileIntelligence,
)
from core.events.record import Analysis
from core.intelligence.base import FileToAnalyze
from core.intelligence.pool import DEADLINE_S, MEMORY_LIMIT, AnalyzerPool
from core.intelligence.worker import Analyze, analyze_to_json
from core.safety.display import display
from core.safety.path import open_confined, relative_within
from core.safety.redact import redact

logger = logging.getLogger(__name__)

MAX_BYTES: Final = 64 << 20
"""Bytes read at most of a file given by its path."""


def utc_now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


class BridgeIntelligenceGenerator:
    """Makes intelligence records, in processes of its own; an async context manager.

    `deadline_s` bounds the analysis of one file, in seconds; `memory_limit` each process, in bytes of
    address space.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        deadline_s: float = DEADLINE_S,
        memory_limit: int | None = MEMORY_LIMIT,
        analyze: Analyze = analyze_to_json,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool = AnalyzerPool(
            workers=workers, deadline_s=deadline_s, memory_limit=memory_limit, analyze=analyze
        )
        self._now = now

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin to start the processes."""
        await self._pool.start()

    async def stop(self) -> None:
        """Kill the processes, busy or not."""
        await self._pool.stop()

    async def analyze_many(self, files: Sequence[FileToAnalyze]) -> list[Analysis | AnalysisFailed]:
        """One answer per file, in order; a file that cannot be analyzed costs its neighbours nothing.

        Raises `BackendUnavailable` where no process can be started.
        """
        return await self._pool.run(files)

    async def generate(self, request: BridgeIntelligenceRequest) -> BridgeIntelligenceResponse:
        """The record of one file, or in words why there is none; raises nothing an event can cause.

        `content` is used where it is not null, `""` being an empty file. Else the file at `file_path`
        is read, below `project_path` only. A `checksum` of the form `sha256:<hex>` is verified.
        """
        try:
            content, source = await _content(request)
            checksum, verified = _verify(content, request.checksum)
            (analysis,) = await self.analyze_many(
                [FileToAnalyze(request.file_path, content, request.language)]
            )
            if isinstance(analysis, AnalysisFailed):
                raise analysis
        except ArchonError as error:
            logger.warning("no intelligence of %s: %s", display(request.file_path), redact(str(error)))
            return BridgeIntelligenceResponse(
                success=False, error_reason=error.reason, error=redact(str(error))
            )
        logger.info("intelligence of %s from %s", display(request.file_path), source)
        return BridgeIntelligenceResponse(
            success=True,
            intelligence=FileIntelligence(
                project=request.project_name,
                path=request.file_path,
                checksum=checksum,
                checksum_verified=verified,
                size_bytes=len(content),
                content_source=source,
                correlation_id=request.correlation_id,
                generated_at=self._now(),
                analysis=analysis.model(),
            ),
        )


async def _content(request: BridgeIntelligenceRequest) -> tuple[bytes, str]:
    """The file's bytes and the source they are from."""
    if request.content is not None:
        return decode_content(request.content, request.content_encoding), request.content_strategy or "inline"
    return await to_thread(_read, request.file_path, request.project_path), "local_path"


def _read(path: str, project: str | None) -> bytes:
    """The file at `path`, which lies below `project`. Raises `UnsafeInput`, `ContentMissing`, …"""
    if project is None or not project.startswith("/"):
        raise ContentMissing("the request has neither content nor an absolute project_path to read from")
    root = os.path.normpath(project)
    try:
        relative = relative_within(root, path) if path.startswith("/") else path
        with open(open_confined(root, relative), "rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ContentMissing(f"the file is not on this machine: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise ContentTooLarge(f"the file is larger than {MAX_BYTES:,} bytes")
    return content


def _verify(content: bytes, expected: str | None) -> tuple[str, bool]:
    """The checksum of `content`, and whether there was one to compare it with."""
    actual = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if expected is None or not expected.startswith("sha256:"):
        return actual, False
    if actual != expected.lower():
        raise ChecksumMismatch("the content is not what its checksum says")
    return actual, True
