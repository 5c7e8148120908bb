"""What one `publish` does inside its transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from core.errors import MessageTooLarge, PermanentError
from core.events.topics import dead_letter_topic
from core.log.base import OutgoingMessage, Position, PublishFailure
from core.log.embedded.tables import ensure_topic, message_bytes, pack_headers, place
from core.log.partitioner import partition_of

_LETTER_ROOM = 64 * 1024


def append(
    connection: sqlite3.Connection,
    topic: str,
    messages: Sequence[OutgoingMessage],
    *,
    partitions: int,
    limit_bytes: int,
    unkeyed: Iterator[int],
    now_ms: int,
) -> list[Position | PublishFailure]:
    """Write the messages that fit, in order, and say where each went. Makes `topic` where missing.

    `unkeyed` spreads messages without a key: each takes its next number, modulo the partitions.
    Times never go back within a partition, although the machine's clock may: readers judge by them whether
    the topic was made anew. A dead-letter topic takes the largest message of any topic, and its reasons.
    """
    if topic.endswith(dead_letter_topic("")):
        limit_bytes += _LETTER_ROOM
    found = ensure_topic(connection, topic, partitions)
    ends = [partition.end for partition in found]
    rows: list[tuple[int, int, bytes | None, bytes | None, bytes | None]] = []
    answers: list[Position | PublishFailure] = []
    times: dict[int, int] = {}
    for index, message in enumerate(messages):
        if (error := _problem(topic, message, len(found), limit_bytes)) is not None:
            answers.append(PublishFailure(index, error))
            continue
        number = _choose(message, len(found), unkeyed)
        offset = ends[number]
        ends[number] += 1
        at = place(found[number].id, offset)
        if number not in times:
            times[number] = max(now_ms, _last_time(connection, at))
        rows.append((at, times[number], message.key, pack_headers(message.headers), message.value))
        answers.append(Position(topic, number, offset))
    connection.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?)", rows)
    connection.executemany(
        "UPDATE partitions SET end_offset = ? WHERE id = ?",
        [(end, partition.id) for end, partition in zip(ends, found, strict=True) if end != partition.end],
    )
    return answers


def _last_time(connection: sqlite3.Connection, at: int) -> int:
    """The time of the message just before place `at`; 0 where there is none."""
    row = connection.execute("SELECT timestamp_ms FROM messages WHERE place = ?", (at - 1,)).fetchone()
    return row[0] if row else 0


def _choose(message: OutgoingMessage, partitions: int, unkeyed: Iterator[int]) -> int:
    if message.partition is not None:
        return message.partition
    return next(unkeyed) % partitions if message.key is None else partition_of(message.key, partitions)


def _problem(
    topic: str, message: OutgoingMessage, partitions: int, limit_bytes: int
) -> PermanentError | None:
    if (size := message_bytes(message)) > limit_bytes:
        return MessageTooLarge(
            f"a message of {size:,} bytes exceeds the {limit_bytes:,} that {topic} accepts"
        )
    if message.partition is not None and not 0 <= message.partition < partitions:
        return PermanentError(f"{topic} has {partitions} partitions, and no number {message.partition}")
    return None
