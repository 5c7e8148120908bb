"""Leases: which member of a group reads which partition. Every function runs inside one transaction.

A partition belongs to one member at a time, and a member takes only what nobody holds: one machine
gains nothing from splitting a topic among agents that already use all its cores. The partitions of a
member whose process is gone, or that has not been heard of for the session timeout, are free at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from core.errors import ConfigurationError
from core.log.base import TopicPartition
from core.log.embedded.liveness import ProcessId, is_running
from core.log.embedded.tables import ensure_topic, placeholders


@dataclass(frozen=True, slots=True)
class Member:
    """A consumer in a group; `session` tells one joining from the next."""

    session: str
    group: str
    member_id: str
    process: ProcessId


class Claim(NamedTuple):
    """A partition held by a member, and the offset from which it is to be read."""

    where: TopicPartition
    partition_id: int
    start: int


def join(
    connection: sqlite3.Connection,
    member: Member,
    topics: Sequence[str],
    *,
    partitions: int,
    now_ms: int,
    expired_ms: int,
) -> list[Claim]:
    """Enter `member` and take what is free of `topics`, made with `partitions` where missing.

    Raises `ConfigurationError` naming the owners when nothing is free.
    """
    for topic in topics:
        ensure_topic(connection, topic, partitions)
    connection.execute(
        "INSERT INTO members VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (member.session, member.group, member.member_id, *member.process, now_ms, now_ms),
    )
    _take_free(connection, member, topics, expired_ms)
    if not (claims := claims_of(connection, member)):
        raise _refusal(connection, member.group, topics)
    return claims


def beat(
    connection: sqlite3.Connection, member: Member, topics: Sequence[str], *, now_ms: int, expired_ms: int
) -> bool:
    """Stay alive and take what has become free; False when the lease was lost meanwhile."""
    alive = connection.execute(
        "UPDATE members SET heartbeat_ms = ? WHERE session = ?", (now_ms, member.session)
    ).rowcount
    if alive:
        _take_free(connection, member, topics, expired_ms)
    return bool(alive)


def leave(connection: sqlite3.Connection, member: Member) -> None:
    """Give everything back."""
    _evict(connection, member.session)


def claims_of(connection: sqlite3.Connection, member: Member) -> list[Claim]:
    """What `member` holds now, each from its committed offset, or else from its beginning."""
    rows = connection.execute(
        """SELECT topic, number, id, max(begin_offset, ifnull(next_offset, 0))
           FROM claims JOIN partitions ON id = claims.partition_id
           LEFT JOIN offsets ON offsets.group_name = claims.group_name AND offsets.partition_id = id
           WHERE claims.group_name = ? AND session = ? ORDER BY topic, number""",
        (member.group, member.session),
    )
    return [Claim(TopicPartition(topic, number), id_, start) for topic, number, id_, start in rows]


def _take_free(
    connection: sqlite3.Connection, member: Member, topics: Sequence[str], expired_ms: int
) -> None:
    others = connection.execute(
        "SELECT session, heartbeat_ms, pid, started, namespace FROM members "
        "WHERE group_name = ? AND session <> ?",
        (member.group, member.session),
    ).fetchall()
    for session, heartbeat_ms, *process in others:
        if heartbeat_ms < expired_ms or is_running(ProcessId(*process)) is False:
            _evict(connection, session)
    connection.execute(
        "INSERT OR IGNORE INTO claims SELECT ?, id, ? FROM partitions "  # noqa: S608, question marks only
        f"WHERE topic IN ({placeholders(topics)})",
        (member.group, member.session, *topics),
    )


def _evict(connection: sqlite3.Connection, session: str) -> None:
    connection.execute("DELETE FROM claims WHERE session = ?", (session,))
    connection.execute("DELETE FROM members WHERE session = ?", (session,))


def _refusal(connection: sqlite3.Connection, group: str, topics: Sequence[str]) -> ConfigurationError:
    owners = connection.execute(
        "SELECT DISTINCT member_id, pid, since_ms FROM members JOIN claims USING (session) "  # noqa: S608, as above
        "JOIN partitions ON id = partition_id "
        f"WHERE claims.group_name = ? AND topic IN ({placeholders(topics)})",
        (group, *topics),
    ).fetchall()
    named = ", ".join(
        f"{member_id} (pid {pid}, since {datetime.fromtimestamp(since_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC)"
        for member_id, pid, since_ms in owners
    )
    return ConfigurationError(
        f"every partition of {', '.join(topics)} is already read in group {group} by {named}",
        hint="stop that agent, or choose another --group; to share a topic among agents, use Kafka",
    )
