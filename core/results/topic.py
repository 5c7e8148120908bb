"""Records to the results topic, one event per file."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime
from uuid import uuid4

from core.errors import BackendUnavailable, MessageTooLarge
from core.events.codec import to_json, with_field
from core.events.common import Source
from core.events.intelligence import FileIntelligenceHeader
from core.events.record import Analysis, FileRecord
from core.events.request import IndexRequest
from core.events.topics import FILE_INTELLIGENCE
from core.log.base import EventLog, OutgoingMessage, PublishFailure
from core.results.base import BatchResult, Overtaken
from core.telemetry.trace import trace_headers


class TopicSink:
    """Publishes `FileIntelligenceGenerated` events; a deleted path becomes a tombstone.

    A record that the topic refuses as too large goes without its lists, and says so in `truncated`.
    """

    def __init__(self, log: EventLog, source: Source) -> None:
        self._log = log
        self._source = source

    async def overtaken(self, request: IndexRequest, paths: Collection[str]) -> Collection[str]:
        """None: the topic cannot be asked for a key."""
        return ()

    async def write(self, result: BatchResult) -> Overtaken:
        """Returns when all records are acknowledged. Raises `BackendUnavailable` where one is not.

        The topic itself keeps no order: the caller writes the requests of a path in theirs. Records and
        tombstones carry the request's position, so that readers can tell.
        """
        request = result.request
        position = (request.position.header(),) if request.position else ()
        headers = (*trace_headers(request.trace_id, request.span_id, sampled=request.sampled), *position)
        records = [self._message(record, request.event_id, headers) for record in result.records]
        # As in the index, a record stands where a request names a path in both lists.
        written = {record.identity.path for record in result.records}
        messages = records + [
            OutgoingMessage(record_key(request.project_name, path), None, position)
            for path in result.deleted
            if path not in written
        ]
        large: list[FileRecord] = []
        for answer in await self._log.publish(FILE_INTELLIGENCE, messages):
            if not isinstance(answer, PublishFailure):
                continue
            if not isinstance(answer.error, MessageTooLarge) or answer.index >= len(result.records):
                raise _refusal(answer)
            large.append(result.records[answer.index])
        if large:
            less = [self._message(_without_lists(record), request.event_id, headers) for record in large]
            for answer in await self._log.publish(FILE_INTELLIGENCE, less):
                if isinstance(answer, PublishFailure):
                    raise _refusal(answer)
        return Overtaken()

    def _message(
        self, record: FileRecord, causation_id: str, headers: tuple[tuple[str, bytes], ...]
    ) -> OutgoingMessage:
        return OutgoingMessage(
            record_key(record.identity.project, record.identity.path),
            with_field(to_json(self._header(record, causation_id)), "payload", record.to_json()),
            headers,
        )

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


def _refusal(answer: PublishFailure) -> BackendUnavailable:
    return BackendUnavailable(f"{FILE_INTELLIGENCE} refuses a record: {answer.error}")


def _without_lists(record: FileRecord) -> FileRecord:
    """The record without symbols and imports, of which a file's author decides how long they are."""
    analysis = record.analysis.model()
    notes = tuple(
        f"{name}: 0 of {len(items):,}, too large for the results topic"
        for name, items in (("symbols", analysis.symbols), ("imports", analysis.imports))
    )
    less = analysis.model_copy(
        update={"symbols": (), "imports": (), "truncated": (*analysis.truncated, *notes)}
    )
    return FileRecord(record.identity, Analysis.of(less))


def record_key(project: str, path: str) -> bytes:
    """The key of a file's record: the JSON array `[project, path]`, so that no two files share one."""
    return json.dumps([project, path]).encode()
