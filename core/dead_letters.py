"""The dead-letter topics: put, list, redrive, purge."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Final, NamedTuple

from core.errors import ArchonError, BackendUnavailable, UsageError
from core.events.dead_letter import REDRIVEN, DeadLetterInfo, Redriven, original_headers, read
from core.events.topics import dead_letter_topic, redriven_topic
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
from core.safety.redact import redact

MESSAGE_LIMIT = 500

_SENT: Final = b"redriven"


class Redrive(NamedTuple):
    """A letter that was redriven. `superseded` paths stayed behind: all of them where not `was_sent`."""

    letter: DeadLetter
    superseded: int
    was_sent: bool


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
        """As `redrive_all` for one letter."""

        async def only() -> AsyncIterator[DeadLetter]:
            yield letter

        async for _ in self.redrive_all(only()):
            pass

    async def redrive_all(self, letters: AsyncIterable[DeadLetter]) -> AsyncIterator[Redrive]:
        """Send each original to its topic again, and mark the letter, so that it cannot be sent twice.

        A mark goes before it too, and says from where on the original is to be looked for: after a crash
        between the two, a letter that was sent is only marked. Two redrives of a letter at the same time
        may both send it. Raises `UsageError` at a letter that went before or has no known origin.

        Paths that newer requests have spoken of since are left out; a letter of which nothing is left is
        marked without being sent.
        """
        marks = await self._marks()
        async for group in in_groups(letters):
            newest = await Newest.of(self._log, self.group, group, self._requests)
            for letter in group:
                if letter.info is None:
                    raise UsageError(f"{letter.id} does not say which topic it came from")
                if (mark := marks.get(letter.id)) == _SENT:
                    raise UsageError(f"{letter.id} was redriven already")
                rest = newest.rest_of(letter)
                topic = letter.info.topic
                if rest.value is not None and (
                    mark is None or not await self._has_arrived(letter, topic, mark)
                ):
                    await self._mark(letter, json.dumps(newest.ends[topic]).encode())
                    await self._send_again(letter, rest.value, newest)
                await self._mark(letter, _SENT)
                marks[letter.id] = _SENT
                yield Redrive(letter, rest.superseded, was_sent=rest.value is not None)

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

    async def _mark(self, letter: DeadLetter, value: bytes) -> None:
        await self._send(redriven_topic(letter.message.topic), OutgoingMessage(letter.id.encode(), value))

    async def _has_arrived(self, letter: DeadLetter, topic: str, mark: bytes) -> bool:
        """Whether the letter's original stands in `topic`, in what came since `mark` was made."""
        provenance = (REDRIVEN + "letter", letter.id.encode())
        starts = {int(partition): end for partition, end in json.loads(mark).items()}
        async for message in self._log.browse(topic, starts=starts):
            if provenance in message.headers:
                return True
        return False

    async def _redriven(self) -> frozenset[str]:
        """Ids of letters that were sent again."""
        return frozenset(letter_id for letter_id, mark in (await self._marks()).items() if mark == _SENT)

    async def _marks(self) -> dict[str, bytes]:
        """The last mark of each letter; they stand in a topic beside each dead-letter topic."""
        marks: dict[str, bytes] = {}
        existing = set(await self._log.topics())
        for topic in map(redriven_topic, self._names):
            if topic not in existing:
                continue
            async for mark in self._log.browse(topic):
                value = mark.value or _SENT
                letter_id = (mark.key or b"").decode("utf-8", "replace")
                marks[letter_id] = value if value.startswith(b"{") else _SENT
        return marks
