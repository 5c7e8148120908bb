"""A member of a group that reads the embedded log."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from core.errors import ArchonError
from core.log.base import LogMessage, RevokedHandler, TopicPartition
from core.log.embedded import membership
from core.log.embedded.liveness import this_process
from core.log.embedded.membership import Claim, Member
from core.log.embedded.store import Store
from core.log.embedded.tables import all_places, messages_from, place

_POLL_BYTES = 16 * 1024 * 1024
_SHORTEST_WAIT_S = 0.001
_LONGEST_WAIT_S = 0.05
_logger = logging.getLogger(__name__)


class EmbeddedConsumer:
    """`LogConsumer` on the embedded log; made by `EmbeddedLog.consumer`.

    A poll returns at most 16 MiB, or one message. What is published through the same `EmbeddedLog` wakes
    it, what other processes publish is seen within 50 ms. Partitions are lost only when no heartbeat was
    written for the session timeout; the revoked handler then comes too late for its commits to count.
    """

    def __init__(
        self,
        store: Store,
        group: str,
        topics: Sequence[str],
        member_id: str,
        on_closed: Callable[[EmbeddedConsumer], None],
    ) -> None:
        self._store = store
        self._topics = tuple(dict.fromkeys(topics))
        self._member = Member(_new_session(), group, member_id, this_process())
        self._polled_as = self._member
        self._on_closed = on_closed
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._sought: set[TopicPartition] = set()
        self._polls = 0
        self._seen: int | None = None
        self._handler: RevokedHandler | None = None
        self._heart: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._closed = False

    async def join(self) -> None:
        """Enter the group and start the heartbeat."""
        await self._join(self._member)
        claims = await self._store.reader.read(partial(membership.claims_of, member=self._member))
        self._positions = {claim.where: claim.start for claim in claims}
        self._heart = asyncio.create_task(self._beat(), name=f"heartbeat of {self._member.member_id}")

    async def poll(self, max_messages: int, timeout_s: float) -> Sequence[LogMessage]:
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        wait = _SHORTEST_WAIT_S
        while not self._closed:
            self._wake.clear()
            if messages := await self._fetch(max_messages):
                return messages
            if (left := deadline - clock()) <= 0:
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait, left)):
                    await self._wake.wait()
            wait = min(2 * wait, _LONGEST_WAIT_S)
        return ()

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        sought = self._sought & offsets.keys()
        rows = [
            (self._member.group, offset, *where, self._member.session, where in sought)
            for where, offset in offsets.items()
        ]
        if not rows:
            return {}
        held = await self._store.writer.write(partial(_commit, rows=rows, member=self._member))
        self._sought -= sought
        return {where: offset for where, offset in offsets.items() if where in held}

    async def seek(self, where: TopicPartition, offset: int) -> None:
        if where in self._positions:
            self._positions[where] = offset
            self._sought.add(where)
            self._look_again()

    async def positions(self) -> Mapping[TopicPartition, int]:
        return dict(self._positions)

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._positions)

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        self._paused |= partitions

    def resume(self, partitions: frozenset[TopicPartition]) -> None:
        self._paused -= partitions
        self._look_again()

    def on_revoked(self, handler: RevokedHandler) -> None:
        self._handler = handler

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.wake()
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.wait({self._heart})
        try:
            await self._revoke(self.assignment())
        finally:
            self._on_closed(self)
            with suppress(ArchonError):  # the lease ends by itself
                await self._store.writer.write(partial(membership.leave, member=self._member))

    def wake(self) -> None:
        """There may be something new to poll."""
        self._wake.set()

    def _look_again(self) -> None:
        self._seen = None
        self.wake()

    async def _fetch(self, max_messages: int) -> list[LogMessage]:
        member, before = self._member, self._readable()
        positions = dict(self._positions) if member is self._polled_as else {}
        look = _Look(member, self._seen, positions, frozenset(self._paused), self._polls)
        found = await self._store.reader.read(partial(look.fetch, max_messages=max_messages))
        if found is None or member is not self._member:
            return []
        self._polls += 1
        looked = max_messages > 0 and not found.messages and before == self._readable()
        self._seen = found.version if looked else None
        starts = {claim.where: positions.get(claim.where, claim.start) for claim in found.claims}
        await self._reassign(member, starts)
        return self._deliver(found.messages, starts)

    async def _reassign(self, member: Member, starts: Mapping[TopicPartition, int]) -> None:
        """Hold the partitions of `starts`; what was held before under another session is lost first."""
        lost = self.assignment()
        if member is self._polled_as:
            lost -= starts.keys()
        self._polled_as = member
        await self._revoke(lost)
        for where, start in starts.items():
            self._positions.setdefault(where, start)

    def _deliver(
        self, messages: Sequence[LogMessage], starts: Mapping[TopicPartition, int]
    ) -> list[LogMessage]:
        """Move on past `messages`, except in partitions that were sought or paused while they were read."""
        readable = self._readable()
        fresh = [message for message in messages if readable.get(message.where) == starts[message.where]]
        self._positions.update({message.where: message.offset + 1 for message in fresh})
        return fresh

    def _readable(self) -> dict[TopicPartition, int]:
        return {where: at for where, at in self._positions.items() if where not in self._paused}

    async def _revoke(self, partitions: frozenset[TopicPartition]) -> None:
        """Tell the handler, then forget `partitions`."""
        try:
            if partitions and self._handler is not None:
                await self._handler(partitions)
        finally:
            self._sought -= partitions
            self._paused -= partitions
            for where in partitions:
                self._positions.pop(where, None)

    async def _beat(self) -> None:
        while True:
            await self._store.sleep(self._store.session_timeout_s / 3)
            try:
                await self._beat_once()
            except ArchonError as error:
                _logger.warning(
                    "%s keeps no lease in group %s: %s", self._member.member_id, self._member.group, error
                )

    async def _beat_once(self) -> None:
        alive = await self._store.writer.write(
            partial(
                membership.beat,
                member=self._member,
                topics=self._topics,
                now_ms=self._store.now_ms(),
                expired_ms=self._store.expired_ms(),
            )
        )
        if not alive:
            member = replace(self._member, session=_new_session())
            await self._join(member)
            self._member = member

    async def _join(self, member: Member) -> None:
        await self._store.writer.write(
            partial(
                membership.join,
                member=member,
                topics=self._topics,
                partitions=self._store.partitions,
                now_ms=self._store.now_ms(),
                expired_ms=self._store.expired_ms(),
            )
        )


class _Found(NamedTuple):
    """What one look at the file saw; `version` changes when another connection writes."""

    version: int
    claims: list[Claim]
    messages: list[LogMessage]


class _Look(NamedTuple):
    """One look at the file from a member's positions; partitions take turns at being first."""

    member: Member
    seen: int | None
    positions: Mapping[TopicPartition, int]
    paused: frozenset[TopicPartition]
    turn: int

    def fetch(self, connection: sqlite3.Connection, max_messages: int) -> _Found | None:
        """None when the file is as it was `seen`."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if version == self.seen:
            return None
        claims = membership.claims_of(connection, self.member)
        first = self.turn % len(claims) if claims else 0
        messages: list[LogMessage] = []
        room = _POLL_BYTES
        for where, partition_id, start in claims[first:] + claims[:first]:
            if where in self.paused or room <= 0 or len(messages) >= max_messages:
                continue
            places = range(
                place(partition_id, self.positions.get(where, start)), all_places(partition_id).stop
            )
            more = list(
                messages_from(connection, where, places, limit=max_messages - len(messages), max_bytes=room)
            )
            room -= sum(len(message.value or b"") for message in more)
            messages += more
        return _Found(version, claims, messages)


def _commit(
    connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]], member: Member
) -> set[TopicPartition]:
    """Write the offsets of partitions that `member` holds; those partitions."""
    connection.executemany(
        """INSERT INTO offsets
           SELECT ?1, id, ?2 FROM partitions JOIN claims ON partition_id = id AND group_name = ?1
           WHERE topic = ?3 AND number = ?4 AND session = ?5
           ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset
           WHERE excluded.next_offset > offsets.next_offset OR ?6""",
        rows,
    )
    return {claim.where for claim in membership.claims_of(connection, member)}


def _new_session() -> str:
    return uuid.uuid4().hex
