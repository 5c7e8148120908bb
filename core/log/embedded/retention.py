"""Making room: which messages may go, and their removal in steps short enough to share the file.

Pages of removed messages are used again by later ones, so the file stays near its largest backlog; it
is cut back only when most of it is empty.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from core.events.topics import Retention
from core.log.embedded.tables import Partition, all_places, place, placeholders

STEP_MESSAGES = 32
_STEP_PAGES = 2048
_SLACK_PAGES = 1024


def removable_end(
    connection: sqlite3.Connection, partition: Partition, rule: Retention, written_before_ms: int
) -> int:
    """The offset below which every message may go under `rule`, which does not compact."""
    places = all_places(partition.id)
    first_kept = connection.execute(
        "SELECT place FROM messages WHERE place >= ? AND place < ? AND timestamp_ms >= ? "
        "ORDER BY place LIMIT 1",
        (places.start, places.stop, written_before_ms),
    ).fetchone()
    end = first_kept[0] - places.start if first_kept else partition.end
    if not rule.until_read:
        return end
    (read,) = connection.execute(
        "SELECT min(next_offset) FROM offsets WHERE partition_id = ?", (partition.id,)
    ).fetchone()
    return min(end, read or 0)


def superseded(connection: sqlite3.Connection, partition: Partition, written_before_ms: int) -> list[int]:
    """The places that compaction empties: all but the newest of each key, and tombstones grown old."""
    places = all_places(partition.id)
    rows = connection.execute(
        """SELECT place FROM messages WHERE place >= :start AND place < :stop AND (
               place NOT IN (
                   SELECT max(place) FROM messages WHERE place >= :start AND place < :stop GROUP BY key)
               OR (value IS NULL AND timestamp_ms < :before))""",
        {"start": places.start, "stop": places.stop, "before": written_before_ms},
    )
    return [at for (at,) in rows]


def remove(connection: sqlite3.Connection, places: Sequence[int]) -> None:
    """Remove the messages at `places`."""
    connection.execute(f"DELETE FROM messages WHERE place IN ({placeholders(places)})", places)  # noqa: S608


def remove_below(connection: sqlite3.Connection, partition_id: int, end: int) -> bool:
    """Remove the oldest messages of a partition below `end`, one step; True when none is left."""
    start = place(partition_id, 0)
    oldest = connection.execute(
        "SELECT place FROM messages WHERE place >= ? AND place < ? ORDER BY place LIMIT ?",
        (start, start + end, STEP_MESSAGES),
    ).fetchall()
    done = len(oldest) < STEP_MESSAGES
    begin = end if done else oldest[-1][0] + 1 - start
    connection.execute("DELETE FROM messages WHERE place >= ? AND place < ?", (start, start + begin))
    connection.execute(
        "UPDATE partitions SET begin_offset = max(begin_offset, ?) WHERE id = ?", (begin, partition_id)
    )
    return done


def shrink(connection: sqlite3.Connection) -> bool:
    """Give one step of empty pages back to the disk; True when that is enough. Not in a transaction."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    if free <= max(_SLACK_PAGES, pages // 2):
        return True
    # `execute` would stop after one page: this pragma frees one per step, and returns no rows.
    connection.executescript(f"PRAGMA incremental_vacuum({_STEP_PAGES})")
    return False
