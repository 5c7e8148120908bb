"""One file's intelligence on request, by the same sources, proofs and limits as the consumer's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

from core.errors import AnalysisFailed, ArchonError, UnsafeInput
from core.events.intelligence import (
    BridgeIntelligenceRequest,
    BridgeIntelligenceResponse,
    FileIntelligence,
)
from core.events.request import Carrier, IndexRequest, RequestedFile
from core.fetchers.resolver import Resolved, Resolver
from core.intelligence.base import FileToAnalyze
from core.record_maker import Analyzer
from core.safety.display import display
from core.safety.path import relative_within
from core.safety.redact import redact

logger = logging.getLogger(__name__)


class BridgeIntelligenceGenerator:
    """Answers `BridgeIntelligenceRequest`s."""

    def __init__(
        self,
        resolver: Resolver,
        analyzer: Analyzer,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._resolver = resolver
        self._analyzer = analyzer
        self._now = now

    async def generate(self, request: BridgeIntelligenceRequest) -> BridgeIntelligenceResponse:
        """The file's record, or why there is none; raises nothing of archon's.

        `content` is preferred, `""` being an empty file; where it is null the path is read, below
        `project_path` only. A checksum is verified whatever the source.
        """
        try:
            record = await self._record(request)
        except ArchonError as error:
            logger.warning("no intelligence of %s: %s", display(request.file_path), redact(str(error)))
            return BridgeIntelligenceResponse(
                success=False, error_reason=error.reason, error=redact(str(error))
            )
        logger.info("intelligence of %s from %s", display(record.path), record.content_source)
        return BridgeIntelligenceResponse(success=True, intelligence=record)

    async def _record(self, request: BridgeIntelligenceRequest) -> FileIntelligence:
        asked = _as_index_request(request, self._now())
        (answer,) = await self._resolver.resolve(asked, asked.files)
        if not isinstance(answer, Resolved):
            raise answer.error
        file = FileToAnalyze(answer.file.relative_path, answer.content, answer.file.language, answer.size)
        (analysis,) = await self._analyzer.analyze_many([file])
        if isinstance(analysis, AnalysisFailed):
            raise analysis
        return FileIntelligence(
            project=asked.project_name,
            path=answer.file.relative_path,
            checksum=answer.checksum,
            checksum_verified=answer.verified,
            size_bytes=answer.size,
            content_source=answer.source.value,
            correlation_id=asked.correlation_id,
            generated_at=self._now(),
            analysis=analysis.model(),
        )


def _as_index_request(request: BridgeIntelligenceRequest, now: datetime) -> IndexRequest:
    """The request as an event of one file; content is preferred to a path."""
    file = RequestedFile(
        relative_path=_relative(request),
        carrier=Carrier.LOCAL_PATH if request.content is None else Carrier.INLINE,
        language=request.language,
        checksum=request.checksum,
        content=request.content,
        content_encoding=request.content_encoding,
        file_path=request.file_path,
    )
    event_id = str(uuid4())
    return IndexRequest(
        event_id=event_id,
        event_type="bridge",
        correlation_id=request.correlation_id or event_id,
        timestamp=now,
        schema_version="2.0.0",
        batch_id=event_id,
        project_name=request.project_name,
        project_path=request.project_path,
        files=(file,),
    )


def _relative(request: BridgeIntelligenceRequest) -> str:
    """The file's path in its project; an absolute one is taken relative to `project_path` where it can be."""
    path = request.file_path
    if not path.startswith("/"):
        return path
    try:
        return relative_within(request.project_path or "/", path)
    except UnsafeInput:
        if request.content is None:
            raise
        return path.lstrip("/")
