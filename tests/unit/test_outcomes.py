"""What the agents said of an ingestion is read once each, only of this one, and counted once a batch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.assembly.stores import open_log
from core.events.common import Source
from core.events.outcome import (
    BatchCompleted,
    BatchFailed,
    FileFailure,
    IndexProjectCompleted,
    IndexProjectFailed,
)
from core.events.topics import COMPLETED, FAILED
from core.log.base import EventLog, OutgoingMessage
from core.outcomes import BatchOutcome, Outcomes
from core.settings import load

MINE, OTHER = "job-1", "job-2"
BROKEN = FileFailure(path="a.py", reason="checksum_mismatch", message="it differs")


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EventLog]:
    async with open_log(load({"home": tmp_path}, environ={}).settings) as opened:
        yield opened


async def tell(
    log: EventLog, batch: str, *, job: str = MINE, indexed: int = 0, failures: tuple[FileFailure, ...] = ()
) -> None:
    """As an agent does: completed where something was indexed, else failed."""
    topic = COMPLETED if indexed else FAILED
    envelope = {
        "event_id": "e",
        "event_type": topic,
        "correlation_id": job,
        "timestamp": datetime.now(UTC),
        "source": Source(service="archon-agent", instance_id="a"),
    }
    event: IndexProjectCompleted | IndexProjectFailed
    if indexed:
        event = IndexProjectCompleted(
            **envelope,
            payload=BatchCompleted(
                project_name="p",
                batch_id=batch,
                files_discovered=indexed + len(failures),
                files_indexed=indexed,
                files_failed=len(failures),
                files_skipped=0,
                files_deleted=0,
                processing_time_ms=1,
                by_source={"inline": indexed},
                failures=failures,
            ),
        )
    else:
        event = IndexProjectFailed(
            **envelope,
            payload=BatchFailed(
                project_name="p",
                batch_id=batch,
                error_code="checksum_mismatch",
                error_message="it differs",
                files_failed=len(failures),
                retry_allowed=False,
                failures=failures,
            ),
        )
    await log.publish(topic, [OutgoingMessage(batch.encode(), event.model_dump_json().encode())])


async def test_only_what_came_since_the_beginning_and_of_this_ingestion_counts(log: EventLog) -> None:
    await tell(log, "0", indexed=7)
    outcomes = Outcomes(log, "group")
    await outcomes.begin()
    assert await outcomes.look(MINE) == []
    assert (outcomes.batches, outcomes.total()) == (0, BatchOutcome(0, 0, 0, 0))
    await tell(log, "1", indexed=3, failures=(BROKEN,))
    await tell(log, "1", indexed=50, job=OTHER)
    await tell(log, "2", failures=(BROKEN,))
    await log.publish(COMPLETED, [OutgoingMessage(b"k", b"no outcome"), OutgoingMessage(b"k", None)])
    assert await outcomes.look(MINE) == [BROKEN, BROKEN]
    assert outcomes.total() == BatchOutcome(5, 3, 2, 0, {"inline": 3})
    assert await outcomes.look(MINE) == []
    await tell(log, "3", indexed=4)
    assert await outcomes.look(MINE) == []
    assert (outcomes.batches, outcomes.total().files) == (3, 9)


async def test_a_batch_delivered_twice_counts_once_and_its_newest_outcome(log: EventLog) -> None:
    outcomes = Outcomes(log, "group")
    await outcomes.begin()
    await tell(log, "1", indexed=3, failures=(BROKEN,))
    assert await outcomes.look(MINE) == [BROKEN]
    await tell(log, "1", indexed=2, failures=(BROKEN, FileFailure(path="b", reason="x", message="y")))
    assert [failure.path for failure in await outcomes.look(MINE)] == ["b"]
    assert outcomes.total() == BatchOutcome(4, 2, 2, 0, {"inline": 2})
    await tell(log, "1", indexed=1)  # a redriven dead letter of the batch
    await outcomes.look(MINE)
    assert outcomes.total().files == 4


async def test_begun_late_it_reads_from_the_start(log: EventLog) -> None:
    await tell(log, "1", indexed=3)
    outcomes = Outcomes(log, "group")
    await outcomes.look(MINE)
    assert outcomes.total().indexed == 3
