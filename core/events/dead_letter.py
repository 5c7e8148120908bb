"""The header vocabulary of dead letters: why, and where the original stood.

The names follow Kafka Connect's dead-letter-queue reporter. Headers of ours carry the prefix, so the
original headers stay byte for byte and come back when a letter is redriven.
"""

from __future__ import annotations

from dataclasses import dataclass

Headers = tuple[tuple[str, bytes], ...]

PREFIX = "__archon.errors."
REDRIVEN = "__archon.redrive."


@dataclass(frozen=True, slots=True)
class DeadLetterInfo:
    """What a dead letter says of its end. `stage` is `decode`, `resolve`, `analyze` or `store`.

    `message` is scrubbed of secrets and one line. `timestamp_ms` is the original's time in the log.
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
        )
    except (KeyError, ValueError):
        return None


def original_headers(headers: Headers) -> Headers:
    """The headers without what archon added when the letter died."""
    return tuple(header for header in headers if not header[0].startswith(PREFIX))
