"""The dead-letter topics: put, list, redrive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from core.errors import ArchonError, BackendUnavailable, UsageError
from core.events.dead_letter import REDRIVEN, DeadLetterInfo, original_headers, read
from core.events.topics import dead_letter_topic
from core.log.base import EventLog, LogMessage, OutgoingMessage, Position, PublishFailure
from core.safety.redact import redact

MESSAGE_LIMIT = 500


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A letter and what its headers say; `info` is None for one that archon did not write."""

    message: LogMessage
    info: DeadLetterInfo | None

    @property
    def id(self) -> str:
        """`<topic>/<partition>/<offset>` in its dead-letter topic."""
        return f"{self.message.topic}/{self.message.partition}/{self.message.offset}"


class DeadLetters:
    """Reads and writes the dead-letter topics of a log."""

    def __init__(self, log: EventLog, group: str) -> None:
        self._log = log
        self._group = group

    async def put(
        self,
        message: LogMessage,
        error: BaseException,
        *,
        stage: str,
        attempts: int = 1,
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
            attempts=attempts,
            group=self._group,
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
        names = (
            topics
            if topics is not None
            else [name for name in await self._log.topics() if name.endswith(".dlq")]
        )
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
        message = await self._log.read(Position(topic, int(partition), int(offset)))
        if message is None:
            raise UsageError(f"there is no dead letter {letter_id}", hint="archon-agent dlq list shows them")
        return DeadLetter(message, read(message.headers))

    async def redrive(self, letter: DeadLetter) -> None:
        """Send the original to its topic again and mark the letter, so that it cannot be sent twice.

        Raises `UsageError` where it was redriven already or has no known origin.
        """
        if letter.info is None:
            raise UsageError(f"{letter.id} does not say which topic it came from")
        if letter.id in await self._redriven():
            raise UsageError(f"{letter.id} was redriven already")
        provenance = ((REDRIVEN + "letter", letter.id.encode()),)
        original = OutgoingMessage(
            letter.message.key, letter.message.value, (*original_headers(letter.message.headers), *provenance)
        )
        await self._send(letter.info.topic, original)
        await self._send(_marks(letter.message.topic), OutgoingMessage(letter.id.encode(), b"redriven"))

    async def _send(self, topic: str, message: OutgoingMessage) -> None:
        (answer,) = await self._log.publish(topic, [message])
        if isinstance(answer, PublishFailure):
            raise BackendUnavailable(f"{topic} refuses the message: {answer.error}")

    async def _redriven(self) -> frozenset[str]:
        """Ids of letters marked as redriven; the marks stand in a topic beside each dead-letter topic."""
        ids: set[str] = set()
        for topic in await self._log.topics():
            if topic.endswith(_marks("")):
                async for mark in self._log.browse(topic):
                    ids.add((mark.key or b"").decode("utf-8", "replace"))
        return frozenset(ids)


def _marks(topic: str) -> str:
    return f"{topic}.redriven"
