"""The header vocabulary of dead letters: why, and where the original stood.

The names follow Kafka Connect's dead-letter-queue reporter. Headers of ours carry the prefix, so the
original headers stay byte for byte and come back when a letter is redriven.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

Headers = tuple[tuple[str, bytes], ...]

PREFIX = "__archon.errors."
REDRIVEN = "__archon.redrive."


@dataclass(frozen=True, slots=True)
class DeadLetterInfo:
    """What a dead letter says of its end. `stage` is `decode`, `resolve`, `analyze` or `store`.

    `message` is scrubbed of secrets and one line. `timestamp_ms` is the original's time in the log, by the
    log's own clock where `log_clock` is true.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    stage: str
    reason: str
    exception_class: str
    message: str
    attempts: int
    group: str
    log_clock: bool = False

    def headers(self) -> Headers:
        """As headers to append to the original's."""
        fields = {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp": self.timestamp_ms,
            "stage": self.stage,
            "reason": self.reason,
            "exception.class.name": self.exception_class,
            "exception.message": self.message,
            "attempts": self.attempts,
            "group": self.group,
            "log.clock": int(self.log_clock),
        }
        return tuple((PREFIX + name, str(value).encode()) for name, value in fields.items())


def read(headers: Headers) -> DeadLetterInfo | None:
    """The information in a dead letter's headers, or None if it has none that is whole."""
    found = {
        name.removeprefix(PREFIX): value.decode("utf-8", "replace")
        for name, value in headers
        if name.startswith(PREFIX)
    }
    try:
        return DeadLetterInfo(
            topic=found["topic"],
            partition=int(found["partition"]),
            offset=int(found["offset"]),
            timestamp_ms=int(found["timestamp"]),
            stage=found["stage"],
            reason=found["reason"],
            exception_class=found["exception.class.name"],
            message=found["exception.message"],
            attempts=int(found["attempts"]),
            group=found["group"],
            log_clock=found.get("log.clock") == "1",
        )
    except (KeyError, ValueError):
        return None


class Place(NamedTuple):
    """Where a message stands in the log, or stood; whether the log or the publisher set `timestamp_ms`."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    log_clock: bool = False


@dataclass(frozen=True, slots=True)
class Redriven:
    """What a redriven message says of itself.

    `origin` is where its request stood first. `seen` is the offset up to which its partition was searched
    for newer requests of the same paths before it was sent.
    """

    letter_id: str
    origin: Place
    seen: int

    def headers(self) -> Headers:
        """As headers beside the original's."""
        origin = json.dumps(self.origin)
        return (
            (REDRIVEN + "letter", self.letter_id.encode()),
            (REDRIVEN + "origin", origin.encode()),
            (REDRIVEN + "seen", str(self.seen).encode()),
        )


def redriven(headers: Headers, place: Place) -> Redriven | None:
    """What the headers of the message at `place` say of a redrive; None where it was not redriven.

    Anybody can write headers. An origin at or after the message itself would decide its paths for ever, so
    such headers count as none; a time after the message's counts as the message's. It can be genuine: a
    publisher's clock was ahead.
    """
    found = {name: value for name, value in headers if name.startswith(REDRIVEN)}
    try:
        topic, partition, offset, timestamp_ms, *clock = json.loads(found[REDRIVEN + "origin"])
        timestamp_ms = min(int(timestamp_ms), place.timestamp_ms)
        origin = Place(str(topic), int(partition), int(offset), timestamp_ms, clock == [True])
        told = Redriven(found[REDRIVEN + "letter"].decode(), origin, int(found[REDRIVEN + "seen"]))
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
    same = origin.topic == place.topic and origin.partition == place.partition
    if same and origin.offset >= place.offset:
        return None
    return told if told.seen >= 0 and origin.offset >= 0 else None


def original_headers(headers: Headers) -> Headers:
    """The headers without what archon added when the letter died, or was redriven before."""
    return tuple(header for header in headers if not header[0].startswith((PREFIX, REDRIVEN)))
