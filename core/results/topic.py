"""Records to the results topic, one event per file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import uuid4

from core.errors import BackendUnavailable
from core.events.codec import to_json, with_field
from core.events.common import Source
from core.events.intelligence import FileIntelligenceHeader
from core.events.record import FileRecord
from core.events.topics import FILE_INTELLIGENCE
from core.log.base import EventLog, OutgoingMessage, PublishFailure
from core.results.base import BatchResult
from core.telemetry.trace import trace_headers


class TopicSink:
    """Publishes `FileIntelligenceGenerated` events; a deleted path becomes a tombstone."""

    def __init__(self, log: EventLog, source: Source) -> None:
        self._log = log
        self._source = source

    async def write(self, result: BatchResult) -> None:
        """Returns when all records are acknowledged. Raises `BackendUnavailable` where one is not."""
        request = result.request
        headers = trace_headers(request.trace_id, request.span_id, sampled=request.sampled)
        messages = [
            OutgoingMessage(
                record_key(record.identity.project, record.identity.path),
                with_field(to_json(self._header(record, request.event_id)), "payload", record.to_json()),
                headers,
            )
            for record in result.records
        ]
        messages += [OutgoingMessage(record_key(request.project_name, path), None) for path in result.deleted]
        for answer in await self._log.publish(FILE_INTELLIGENCE, messages):
            if isinstance(answer, PublishFailure):
                raise BackendUnavailable(f"{FILE_INTELLIGENCE} refuses a record: {answer.error}")

    async def close(self) -> None:
        """Nothing: the log is its owner's."""

    def _header(self, record: FileRecord, causation_id: str) -> FileIntelligenceHeader:
        return FileIntelligenceHeader(
            event_id=str(uuid4()),
            event_type=FILE_INTELLIGENCE,
            correlation_id=record.identity.correlation_id or str(uuid4()),
            causation_id=causation_id,
            timestamp=datetime.now(UTC),
            source=self._source,
        )


def record_key(project: str, path: str) -> bytes:
    """The key of a file's record: the JSON array `[project, path]`, so that no two files share one."""
    return json.dumps([project, path]).encode()
