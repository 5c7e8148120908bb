"""What is read from the embedded log outside any group. Every function runs on one snapshot."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Sequence

from core.log.base import LogMessage, PartitionLag, Position, started
from core.log.embedded.tables import Partition, all_places, messages_from, partitions_of, place, placeholders

_PAGE_MESSAGES = 64
_PAGE_BYTES = 1024 * 1024


def identity(connection: sqlite3.Connection) -> str:
    """What tells this file from one that takes its place."""
    (id_,) = _texts(connection, "SELECT id FROM identity")
    return id_


def lag_of(
    connection: sqlite3.Connection, group: str, chosen: Sequence[str] | None, now_ms: int
) -> list[PartitionLag]:
    """The group's place in the `chosen` topics, by default those that it has committed to."""
    if chosen is None:
        chosen = _texts(
            connection,
            "SELECT DISTINCT topic FROM offsets JOIN partitions ON id = partition_id WHERE group_name = ?",
            group,
        )
    rows = connection.execute(
        "SELECT id, topic, number, begin_offset, end_offset, next_offset FROM partitions "  # noqa: S608, question marks only
        "LEFT JOIN offsets ON partition_id = id AND group_name = ? "
        f"WHERE topic IN ({placeholders(chosen)}) ORDER BY topic, number",
        (group, *chosen),
    ).fetchall()
    lags = []
    for *partition, committed in rows:
        id_, topic, number, begin, end = partition
        unread = connection.execute(
            "SELECT timestamp_ms FROM messages WHERE place >= ? AND place < ? ORDER BY place LIMIT 1",
            (place(id_, max(begin, committed or 0)), all_places(id_).stop),
        ).fetchone()
        seconds = max(0.0, (now_ms - unread[0]) / 1000) if unread else 0.0
        lags.append(PartitionLag(topic, number, committed, begin, end, seconds))
    return lags


def groups(connection: sqlite3.Connection) -> list[str]:
    """Every group with a member or a committed offset."""
    return _texts(
        connection, "SELECT group_name FROM offsets UNION SELECT group_name FROM members ORDER BY 1"
    )


def topics(connection: sqlite3.Connection) -> list[str]:
    """Every topic."""
    return _texts(connection, "SELECT DISTINCT topic FROM partitions ORDER BY 1")


def message_at(connection: sqlite3.Connection, position: Position) -> LogMessage | None:
    """The message at `position`, or None."""
    for partition in partitions_of(connection, position.topic):
        if partition.number == position.partition and position.offset in range(
            partition.begin, partition.end
        ):
            at = place(partition.id, position.offset)
            found = messages_from(connection, partition.where, range(at, at + 1), limit=1, max_bytes=1)
            return next(found, None)
    return None


class Pages:
    """One partition while it is browsed: what was read ahead, and what is still to be read."""

    def __init__(self, partition: Partition, newest_first: bool, start: int = 0) -> None:
        begin = started(partition.begin, partition.end, start)
        self._where = partition.where
        self._newest_first = newest_first
        self._base = place(partition.id, 0)
        self._left = range(place(partition.id, begin), place(partition.id, partition.end))
        self.messages: deque[LogMessage] = deque()

    @property
    def is_hungry(self) -> bool:
        return not self.messages and bool(self._left)

    def turn(self, connection: sqlite3.Connection, limit: int) -> None:
        """Read the next page."""
        self.messages.extend(
            messages_from(
                connection,
                self._where,
                self._left,
                limit=min(limit, _PAGE_MESSAGES),
                max_bytes=_PAGE_BYTES,
                newest_first=self._newest_first,
            )
        )
        if not self.messages:
            self._left = range(0)
        elif self._newest_first:
            self._left = range(self._left.start, self._base + self.messages[-1].offset)
        else:
            self._left = range(self._base + self.messages[-1].offset + 1, self._left.stop)


def turn(connection: sqlite3.Connection, pages: Sequence[Pages], limit: int | None) -> None:
    """Read the next page of each of `pages`; nobody needs more than `limit` messages."""
    for page in pages:
        page.turn(connection, _PAGE_MESSAGES if limit is None else limit)


def _texts(connection: sqlite3.Connection, sql: str, *parameters: str) -> list[str]:
    return [value for (value,) in connection.execute(sql, parameters)]
