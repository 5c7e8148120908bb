"""Who may redrive a letter: claims in the topic of marks, decided by the order of the log.

A letter's marks share a key and so a partition. Everybody who reads them in order comes to the same
answer: the first claim holds, until it is released or `CLAIM_S` old. A redrive that was killed blocks its
letters that long.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from core.errors import BackendUnavailable
from core.events.dead_letter import REDRIVEN
from core.events.topics import redriven_topic
from core.letter import DeadLetter, origin_of
from core.log.base import EventLog, LogMessage, OutgoingMessage, PublishFailure

CLAIM_S = 180.0
"""Age at which a claim ends. Clocks of machines may differ by 90 s: see `SEND_S`."""

SEND_S = 30.0
"""Age of our claim up to which a letter is sent; sending may take `kafka.delivery_timeout`, 60 s, beside."""

SENT: Final = b"redriven"
_OWNER: Final = REDRIVEN + "owner"
_RELEASED: Final = REDRIVEN + "released"

Ends = Mapping[int, int]
"""The end of each partition of a letter's request topic, from which on its original is to be looked for."""


@dataclass(slots=True)
class _Marks:
    """What the marks of one letter say. `since` is of the first redrive that may have sent it."""

    is_sent: bool = False
    owner: bytes | None = None
    at_ms: int = 0
    since: bytes | None = None
    first: bytes | None = None

    def add(self, mark: LogMessage) -> None:
        headers = dict(mark.headers)
        value, owner = mark.value or SENT, headers.get(_OWNER, b"")
        if not value.startswith(b"{"):
            self.is_sent = True
        elif _RELEASED in headers:
            if owner == self.owner:
                self.owner = None
            if owner == self.first:
                self.first = self.since = None
        elif self.owner in (None, owner) or mark.timestamp_ms - self.at_ms >= CLAIM_S * 1000:
            self.owner, self.at_ms = owner, mark.timestamp_ms
            if self.since is None:
                self.first, self.since = owner, value


class Claims:
    """The claims of one redrive on letters of `topics`, which are dead-letter topics."""

    def __init__(self, log: EventLog, topics: Sequence[str]) -> None:
        self._log = log
        self._names = tuple(map(redriven_topic, topics))
        self._me = uuid4().hex.encode()
        self._marks: defaultdict[str, _Marks] = defaultdict(_Marks)
        self._read: dict[str, dict[int, int]] = defaultdict(dict)

    async def read(self) -> None:
        """Read the marks that came since the last call."""
        existing = set(await self._log.topics())
        for topic in existing.intersection(self._names):
            read = self._read[topic]
            async for mark in self._log.browse(topic, starts=dict(read)):
                self._marks[(mark.key or b"").decode("utf-8", "replace")].add(mark)
                read[mark.partition] = mark.offset + 1

    @property
    def sent(self) -> frozenset[str]:
        """Ids of letters that were sent again."""
        return frozenset(letter_id for letter_id, marks in self._marks.items() if marks.is_sent)

    def since(self, letter: DeadLetter) -> Ends | None:
        """From where on another redrive may have sent `letter`; None where none did."""
        marks = self._marks[letter.id]
        if marks.since is None or marks.first == self._me:
            return None
        return {int(partition): end for partition, end in json.loads(marks.since).items()}

    async def take(self, letters: Sequence[DeadLetter], ends: Mapping[str, Ends]) -> frozenset[str]:
        """Claim `letters`, whose request topics end at `ends`; the ids of those that are ours now."""
        free = [letter for letter in letters if self._is_free(letter)]
        for letter in free:
            since = self._marks[letter.id].since
            await self._write(letter, since or json.dumps(ends[origin_of(letter).topic]).encode())
        await self.read()
        return frozenset(letter.id for letter in free if self._is_mine(letter))

    async def renew(self, letter: DeadLetter) -> bool:
        """Claim `letter` again, so that the claim is young; whether it is still ours."""
        await self._write(letter, self._marks[letter.id].since or b"{}")
        await self.read()
        return self._is_mine(letter)

    async def release(self, letter: DeadLetter) -> None:
        """Give up a claim on a letter that was not sent."""
        await self._write(letter, b"{}", (_RELEASED, b"1"))

    async def mark_sent(self, letter: DeadLetter) -> None:
        """Say that `letter` needs no redrive any more."""
        await self._write(letter, SENT)
        self._marks[letter.id].is_sent = True

    def _is_free(self, letter: DeadLetter) -> bool:
        marks = self._marks[letter.id]
        age_ms = time.time() * 1000 - marks.at_ms
        return not marks.is_sent and (marks.owner in (None, self._me) or age_ms >= CLAIM_S * 1000)

    def _is_mine(self, letter: DeadLetter) -> bool:
        marks = self._marks[letter.id]
        return marks.owner == self._me and not marks.is_sent

    async def _write(self, letter: DeadLetter, value: bytes, *headers: tuple[str, bytes]) -> None:
        topic = redriven_topic(letter.message.topic)
        mark = OutgoingMessage(letter.id.encode(), value, ((_OWNER, self._me), *headers))
        (answer,) = await self._log.publish(topic, [mark])
        if isinstance(answer, PublishFailure):
            raise BackendUnavailable(f"{topic} refuses the message: {answer.error}")
