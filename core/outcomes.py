"""What the agents say of one ingestion: the outcome of each of its batches, as the log has them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

from core.events.outcome import FileFailure, IndexProjectCompleted, IndexProjectFailed
from core.events.topics import COMPLETED, FAILED
from core.log.base import EventLog, LogMessage

TOPICS = (COMPLETED, FAILED)


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of the files of one batch."""

    files: int
    indexed: int
    failed: int
    skipped: int
    by_source: dict[str, int] = field(default_factory=dict)
    failures: tuple[FileFailure, ...] = ()


class Outcomes:
    """The outcomes of an ingestion's batches: `begin` before it publishes, then `look` again and again.

    Delivery is at least once: of several outcomes of a batch the one about most files counts, the newest
    of these (a redriven dead letter is about a few).
    """

    def __init__(self, log: EventLog, group: str) -> None:
        self._log = log
        self._group = group
        self._starts: dict[str, dict[int, int]] = {topic: {} for topic in TOPICS}
        self._batches: dict[str, BatchOutcome] = {}

    async def begin(self) -> None:
        """Pass over what the log has by now. Raises what the log raises."""
        existing = [topic for topic in TOPICS if topic in await self._log.topics()]
        for place in await self._log.lag(self._group, existing) if existing else ():
            self._starts[place.topic][place.partition] = place.end

    async def look(self, correlation_id: str) -> list[FileFailure]:
        """Take in what came since; the failures that are new. Raises what the log raises."""
        new: list[FileFailure] = []
        for topic, starts in self._starts.items():
            async for message in self._log.browse(topic, starts=dict(starts)):
                starts[message.partition] = message.offset + 1
                new += self._take(message, correlation_id)
        return new

    @property
    def batches(self) -> int:
        """How many batches were told of."""
        return len(self._batches)

    def total(self) -> BatchOutcome:
        """All batches together, without the failures one by one."""
        told = self._batches.values()
        sources: Counter[str] = Counter()
        for batch in told:
            sources.update(batch.by_source)
        return BatchOutcome(
            sum(batch.files for batch in told),
            sum(batch.indexed for batch in told),
            sum(batch.failed for batch in told),
            sum(batch.skipped for batch in told),
            dict(sources),
        )

    def _take(self, message: LogMessage, correlation_id: str) -> tuple[FileFailure, ...]:
        read = _completed if message.topic == COMPLETED else _failed
        try:
            correlation, batch_id, outcome = read(message.value or b"")
        except ValueError:
            return ()  # no outcome that this version understands
        known = self._batches.get(batch_id)
        if correlation != correlation_id or (known and known.files > outcome.files):
            return ()
        self._batches[batch_id] = outcome
        return tuple(each for each in outcome.failures if not known or each not in known.failures)


def _completed(value: bytes) -> tuple[str, str, BatchOutcome]:
    event = IndexProjectCompleted.model_validate(json.loads(value))
    told = event.payload
    return (
        event.correlation_id,
        told.batch_id,
        BatchOutcome(
            told.files_discovered,
            told.files_indexed,
            told.files_failed,
            told.files_skipped,
            told.by_source,
            told.failures,
        ),
    )


def _failed(value: bytes) -> tuple[str, str, BatchOutcome]:
    event = IndexProjectFailed.model_validate(json.loads(value))
    told = event.payload
    outcome = BatchOutcome(told.files_failed, 0, told.files_failed, 0, failures=told.failures)
    return event.correlation_id, told.batch_id, outcome
