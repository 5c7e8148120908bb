"""A dead letter as it stands in its topic."""

from __future__ import annotations

from dataclasses import dataclass

from core.events.dead_letter import DeadLetterInfo, Place, redriven
from core.log.base import LogMessage


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A letter and what its headers say; `info` is None for one that archon did not write."""

    message: LogMessage
    info: DeadLetterInfo | None

    @property
    def id(self) -> str:
        """`<topic>/<partition>/<offset>` in its dead-letter topic."""
        return f"{self.message.topic}/{self.message.partition}/{self.message.offset}"


def origin_of(letter: DeadLetter) -> Place:
    """Where the request of a letter stood first, however often it was redriven. The letter has `info`."""
    info = letter.info
    assert info  # noqa: S101 - the caller has looked
    died_at = Place(info.topic, info.partition, info.offset, info.timestamp_ms, info.log_clock)
    told = redriven(letter.message.headers, died_at)
    return told.origin if told else died_at
