"""The dead-letter topics: put, list, redrive, purge."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from core.errors import ArchonError, BackendUnavailable, UsageError
from core.events.dead_letter import REDRIVEN, DeadLetterInfo, Redriven, original_headers, read
from core.events.topics import dead_letter_topic
from core.letter import DeadLetter, origin_of
from core.log.base import (
    EventLog,
    LogMessage,
    OutgoingMessage,
    Position,
    PublishFailure,
    TopicPartition,
)
from core.newest_requests import Newest, in_groups
from core.redrive_claims import CLAIM_S, SEND_S, Claims, Ends
from core.safety.redact import redact

MESSAGE_LIMIT = 500

CLAIMED_AT_ONCE: Final = 20
"""Letters that a redrive claims together; so many wait for `CLAIM_S` when it is killed."""


class Redrive(NamedTuple):
    """A letter that was redriven. `superseded` paths stayed behind: all of them where not `was_sent`.

    With `by_another` another redrive has claimed it, and nothing was done.
    """

    letter: DeadLetter
    superseded: int
    was_sent: bool
    by_another: bool = False


class Purgeable(NamedTuple):
    """How many letters of a partition may go: those below the offset `end`."""

    where: TopicPartition
    letters: int
    end: int


class DeadLetters:
    """Reads and writes the dead-letter topics of `topics`, the request topics that archon consumes.

    Dead-letter topics of other applications on the same Kafka are never read or changed.
    """

    def __init__(self, log: EventLog, group: str, topics: Sequence[str]) -> None:
        self._log = log
        self.group = group
        self._requests = tuple(topics)
        self._names = tuple(dict.fromkeys(map(dead_letter_topic, topics)))

    async def put(
        self,
        message: LogMessage,
        error: BaseException,
        *,
        stage: str,
        value: bytes | None = None,
    ) -> None:
        """Write `message`, or `value` in its place, to its dead-letter topic with the reason in headers.

        Raises `BackendUnavailable` where it cannot be written: then nothing may be committed.
        """
        info = DeadLetterInfo(
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            timestamp_ms=message.timestamp_ms,
            stage=stage,
            reason=error.reason if isinstance(error, ArchonError) else "unexpected",
            exception_class=type(error).__name__,
            message=" ".join(redact(str(error)).split())[:MESSAGE_LIMIT],
            attempts=error.attempts if isinstance(error, ArchonError) else 1,
            group=self.group,
            log_clock=message.log_clock,
        )
        letter = OutgoingMessage(
            key=message.key,
            value=message.value if value is None else value,
            headers=(*message.headers, *info.headers()),
        )
        topic = dead_letter_topic(message.topic)
        (answer,) = await self._log.publish(topic, [letter])
        if isinstance(answer, PublishFailure):
            raise BackendUnavailable(f"the dead-letter topic {topic} refuses a letter: {answer.error}")

    async def list(
        self, topics: Sequence[str] | None = None, *, reason: str | None = None
    ) -> AsyncIterator[DeadLetter]:
        """Letters, oldest first by topic and partition; `reason` filters. Redriven ones are left out."""
        names = await self._topics() if topics is None else topics
        redriven = await self._redriven()
        for topic in names:
            async for message in self._log.browse(topic):
                letter = DeadLetter(message, read(message.headers))
                if letter.id in redriven or (
                    reason and (letter.info is None or letter.info.reason != reason)
                ):
                    continue
                yield letter

    async def find(self, letter_id: str) -> DeadLetter:
        """The letter of this id. Raises `UsageError` where there is none."""
        topic, _, rest = letter_id.partition("/")
        partition, _, offset = rest.partition("/")
        if not (partition.isdecimal() and offset.isdecimal()):
            raise UsageError(f"{letter_id} is not a letter's id", hint="archon-agent dlq list shows them")
        known = topic in self._names
        message = await self._log.read(Position(topic, int(partition), int(offset))) if known else None
        if message is None:
            raise UsageError(f"there is no dead letter {letter_id}", hint="archon-agent dlq list shows them")
        return DeadLetter(message, read(message.headers))

    async def redrive(self, letter: DeadLetter) -> None:
        """As `redrive_all` for one letter. Raises `UsageError` where another redrive has claimed it."""

        async def only() -> AsyncIterator[DeadLetter]:
            yield letter

        async for done in self.redrive_all(only()):
            if done.by_another:
                raise UsageError(
                    f"{letter.id} is being redriven by another command",
                    hint=f"if that one was killed, try again in {CLAIM_S:g} s",
                )

    async def redrive_all(self, letters: AsyncIterable[DeadLetter]) -> AsyncGenerator[Redrive, None]:
        """Send each original to its topic again, and mark the letter, so that it cannot be sent twice.

        A letter is claimed before: of two redrives at the same time one sends it (`core.redrive_claims`). The
        claim says from where on the original is to be looked for, so that after a crash between sending and
        marking the letter is only marked. Raises `UsageError` at a letter that went before or has no known
        origin.

        Paths that newer requests have spoken of since are left out; a letter of which nothing is left is
        marked without being sent.
        """
        claims = Claims(self._log, self._names)
        await claims.read()
        gone = claims.sent
        async for group in in_groups(letters):
            newest = await Newest.of(self._log, self.group, group, self._requests)
            for at in range(0, len(group), CLAIMED_AT_ONCE):
                part = group[at : at + CLAIMED_AT_ONCE]
                async with aclosing(self._redrive(part, newest, claims, gone)) as done:
                    async for each in done:
                        yield each

    async def _redrive(
        self, letters: Sequence[DeadLetter], newest: Newest, claims: Claims, gone: frozenset[str]
    ) -> AsyncGenerator[Redrive, None]:
        """Claim these letters together, then send one after another. Those `gone` went before all this."""
        claimed_at = time.monotonic()
        ours = await claims.take([letter for letter in letters if letter.info], newest.ends)
        untouched = {letter.id: letter for letter in letters if letter.id in ours}
        try:
            for letter in letters:
                if letter.info is None:
                    raise UsageError(f"{letter.id} does not say which topic it came from")
                if letter.id in gone:
                    raise UsageError(f"{letter.id} was redriven already")
                is_old = time.monotonic() - claimed_at > SEND_S
                if letter.id not in ours or (is_old and not await claims.renew(letter)):
                    untouched.pop(letter.id, None)
                    yield Redrive(letter, 0, was_sent=False, by_another=True)
                    continue
                rest = newest.rest_of(letter)
                del untouched[letter.id]
                if rest.value is not None and not await self._has_arrived(letter, claims.since(letter)):
                    await self._send_again(letter, rest.value, newest)
                await claims.mark_sent(letter)
                yield Redrive(letter, rest.superseded, was_sent=rest.value is not None)
        finally:
            for letter in untouched.values():
                await claims.release(letter)

    async def _send_again(self, letter: DeadLetter, value: bytes, newest: Newest) -> None:
        """Send the original, or what is left of it, to the partition that it came from."""
        message, origin = letter.message, origin_of(letter)
        ends = newest.ends[origin.topic]
        provenance = Redriven(letter.id, origin, ends.get(origin.partition, 0)).headers()
        headers = (*original_headers(message.headers), *provenance)
        partition = origin.partition if origin.partition in ends else None
        position = await self._send(origin.topic, OutgoingMessage(message.key, value, headers, partition))
        await newest.catch_up(self._log, position)

    async def purgeable(
        self, *, before_ms: int | None = None, only_redriven: bool = False
    ) -> Sequence[Purgeable]:
        """Which letters may go, from the oldest of each partition on.

        Stops at the first letter written at or after `before_ms`, with `only_redriven` at the first that
        was not redriven, and always at a message that archon did not write.
        """
        redriven = await self._redriven() if only_redriven else frozenset()
        ends: dict[TopicPartition, int] = {}
        kept: set[TopicPartition] = set()
        counts: Counter[TopicPartition] = Counter()
        for topic in await self._topics():
            async for message in self._log.browse(topic):
                where = message.where
                foreign = read(message.headers) is None
                too_young = before_ms is not None and message.timestamp_ms >= before_ms
                if foreign or too_young or (only_redriven and DeadLetter(message, None).id not in redriven):
                    kept.add(where)
                if where not in kept:
                    ends[where] = message.offset + 1
                    counts[where] += 1
        return [Purgeable(where, counts[where], end) for where, end in sorted(ends.items())]

    async def purge(self, chosen: Sequence[Purgeable]) -> None:
        """Remove exactly these letters for ever; what came since they were chosen stays."""
        for where, _letters, end in chosen:
            await self._log.delete_before(where, end)

    async def _topics(self) -> Sequence[str]:
        existing = set(await self._log.topics())
        return [name for name in self._names if name in existing]

    async def _send(self, topic: str, message: OutgoingMessage) -> Position:
        (answer,) = await self._log.publish(topic, [message])
        if isinstance(answer, PublishFailure):
            raise BackendUnavailable(f"{topic} refuses the message: {answer.error}")
        return answer

    async def _has_arrived(self, letter: DeadLetter, since: Ends | None) -> bool:
        """Whether the original stands in its topic, in what came `since` another redrive claimed it."""
        if since is None:
            return False
        provenance = (REDRIVEN + "letter", letter.id.encode())
        async for message in self._log.browse(origin_of(letter).topic, starts=since):
            if provenance in message.headers:
                return True
        return False

    async def _redriven(self) -> frozenset[str]:
        """Ids of letters that were sent again."""
        claims = Claims(self._log, self._names)
        await claims.read()
        return claims.sent
