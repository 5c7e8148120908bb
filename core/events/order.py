"""Which of two requests for one path is newer, wherever the two are compared.

A wall clock cannot tell: publishers run on several machines. The log can: the requests of one path go to one
partition, and there the offset decides.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from core.events.common import Wire

HEADER: Final = "archon.request"
"""The header of a record or tombstone that holds its `RequestPosition` as JSON."""

NEW_TOPIC: Final = timedelta(minutes=10)
"""A lower offset that the log wrote so much later stands in a topic that was made anew."""


class RequestPosition(Wire):
    """When a request was made, and where it stands in the log.

    `requested_at` is the publisher's clock. `logged_at` is the log's where `log_clock` is true, otherwise
    also the publisher's (a Kafka topic with CreateTime). A redriven request keeps the position that it had
    before it was dead-lettered.
    """

    requested_at: datetime
    topic: str
    partition: int
    offset: int
    logged_at: datetime
    log_clock: bool = False

    def is_older_than(self, other: RequestPosition) -> bool:
        """Whether `other` decides what stands for a path that both requests name.

        In one partition the offset decides. Between partitions (v1 beside v2, or after partitions were
        added) the log's time decides, then the publisher's.
        """
        if (self.topic, self.partition) == (other.topic, other.partition):
            if self.offset == other.offset:
                return False
            lower, higher = sorted((self, other), key=lambda each: each.offset)
            # Only the log's own clock can tell: a publisher's may be ahead by any time.
            told = lower.log_clock and higher.log_clock
            made_anew = told and _utc(lower.logged_at) - _utc(higher.logged_at) > NEW_TOPIC
            return (self is lower) != made_anew
        return self._times() < other._times()

    def _times(self) -> tuple[datetime, datetime]:
        return _utc(self.logged_at), _utc(self.requested_at)

    def header(self) -> tuple[str, bytes]:
        """As a header of a record or tombstone."""
        return HEADER, self.model_dump_json().encode()


def position_in(headers: tuple[tuple[str, bytes], ...]) -> RequestPosition | None:
    """The position in a record's or tombstone's headers; None in those of an older archon."""
    for name, value in headers:
        if name == HEADER:
            try:
                return RequestPosition.model_validate_json(value)
            except ValueError:
                return None
    return None


def _utc(moment: datetime) -> datetime:
    """A time without a zone is UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
