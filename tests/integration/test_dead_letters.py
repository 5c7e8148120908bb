"""Dead letters on either log: byte for byte there and back, once, and purged from the oldest on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from core import redrive_claims
from core.dead_letters import DeadLetters
from core.errors import BackendUnavailable, ContentMissing, InvalidEvent, UsageError
from core.events.dead_letter import PREFIX, REDRIVEN, Redriven, redriven
from core.events.topics import dead_letter_topic
from core.letter import DeadLetter, origin_of
from core.log.base import EventLog, LogMessage, OutgoingMessage, Position, PublishFailure
from core.log.embedded import EmbeddedLog
from core.log.kafka import KafkaLog
from core.superseding import place_of
from tests.servers.kafka import GROUP, Broker

KEY, VALUE = b"\xff\x00key", bytes(range(256))
HEADERS = (("trace", b"\x00\xff"), ("trace", b""), ("ünï", b"second"))


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[EventLog]:
    async with EmbeddedLog(tmp_path / "log.sqlite") as log:
        yield log


@pytest.fixture
async def on_kafka(kafka: Broker) -> AsyncIterator[EventLog]:
    async with KafkaLog(kafka.settings(create_topics=True, partitions=1)) as log:
        yield log


@pytest.fixture(params=["embedded", pytest.param("on_kafka", marks=pytest.mark.xdist_group(GROUP))])
def log(request: pytest.FixtureRequest) -> EventLog:
    log: EventLog = request.getfixturevalue(request.param)
    return log


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid4().hex}"


async def published(log: EventLog, topic: str) -> LogMessage:
    """A message with everything that must survive."""
    await log.publish(topic, [OutgoingMessage(KEY, VALUE, HEADERS)])
    return [message async for message in log.browse(topic)][-1]


async def letters(dead: DeadLetters, topic: str, reason: str | None = None) -> list[DeadLetter]:
    return [letter async for letter in dead.list([dead_letter_topic(topic)], reason=reason)]


async def test_a_letter_keeps_the_original_and_says_why(log: EventLog, topic: str) -> None:
    dead = DeadLetters(log, "g", [topic])
    message = await published(log, topic)
    error = ContentMissing("gone\nsince Monday")
    error.attempts = 3
    await dead.put(message, error, stage="resolve")
    (letter,) = await letters(dead, topic)
    assert (letter.message.key, letter.message.value) == (KEY, VALUE)
    assert letter.message.headers[: len(HEADERS)] == HEADERS
    info = letter.info
    assert info is not None
    assert (info.topic, info.partition, info.offset, info.timestamp_ms) == (
        topic,
        message.partition,
        message.offset,
        message.timestamp_ms,
    )
    assert (info.stage, info.reason, info.exception_class) == ("resolve", "content_missing", "ContentMissing")
    assert (info.message, info.attempts, info.group) == ("gone since Monday", 3, "g")
    assert await letters(dead, topic, "content_missing") == [letter]
    assert await letters(dead, topic, "invalid_event") == []


async def test_a_redriven_letter_is_the_original_again_and_goes_only_once(log: EventLog, topic: str) -> None:
    dead = DeadLetters(log, "g", [topic])
    await dead.put(await published(log, topic), InvalidEvent("poison"), stage="decode")
    (letter,) = await letters(dead, topic)
    await dead.redrive(letter)
    again = [message async for message in log.browse(topic)][-1]
    assert (again.key, again.value) == (KEY, VALUE)
    assert again.headers[: len(HEADERS)] == HEADERS
    assert dict(again.headers)[REDRIVEN + "letter"] == letter.id.encode()
    assert redriven(again.headers, place_of(again)) == Redriven(letter.id, origin_of(letter), 1)
    assert not any(name.startswith(PREFIX) for name, _ in again.headers)
    assert await letters(dead, topic) == []
    with pytest.raises(UsageError, match="already"):
        await dead.redrive(letter)
    assert len([message async for message in log.browse(topic)]) == 2


class Killed(BaseException):
    """Stands for the end of the process: nothing handles it."""


@pytest.mark.parametrize("sends", [0, 1, 2])
async def test_a_redrive_that_was_killed_goes_on_and_sends_once(
    log: EventLog, topic: str, sends: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = DeadLetters(log, "g", [topic])
    await dead.put(await published(log, topic), InvalidEvent("poison"), stage="decode")
    (letter,) = await letters(dead, topic)
    publish, done = log.publish, 0

    async def killed(topic: str, messages: Sequence[OutgoingMessage]) -> Sequence[Position | PublishFailure]:
        nonlocal done
        if done == sends:
            raise Killed
        done += 1
        return await publish(topic, messages)

    with monkeypatch.context() as context:
        context.setattr(log, "publish", killed)
        with pytest.raises(Killed):
            await dead.redrive(letter)
    assert await letters(dead, topic) == [letter]
    for _ in range(3):
        await log.publish(topic, [OutgoingMessage(KEY, b"others came meanwhile")])
    if sends:
        with pytest.raises(UsageError, match="by another"):
            await DeadLetters(log, "g", [topic]).redrive(letter)
    monkeypatch.setattr(redrive_claims, "CLAIM_S", 0.0)  # as if the time had passed
    await DeadLetters(log, "g", [topic]).redrive(letter)
    values = [message.value async for message in log.browse(topic)]
    assert values.count(VALUE) == 2
    assert await letters(dead, topic) == []
    with pytest.raises(UsageError, match="already"):
        await dead.redrive(letter)


class AtOnce:
    """A log before which several redrives have all read the marks until each of them is about to claim."""

    def __init__(self, log: EventLog, several: int) -> None:
        self._log = log
        self._barrier = asyncio.Barrier(several)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def publish(
        self, topic: str, messages: Sequence[OutgoingMessage]
    ) -> Sequence[Position | PublishFailure]:
        if topic.endswith(".redriven") and messages[0].value != b"redriven":
            async with asyncio.timeout(60):
                await self._barrier.wait()
        return await self._log.publish(topic, messages)


async def test_of_redrives_at_the_same_moment_one_sends(log: EventLog, topic: str) -> None:
    dead = DeadLetters(log, "g", [topic])
    await dead.put(await published(log, topic), InvalidEvent("poison"), stage="decode")
    (letter,) = await letters(dead, topic)
    same: Any = AtOnce(log, 3)
    answers = await asyncio.gather(
        *(DeadLetters(same, "g", [topic]).redrive(letter) for _ in range(3)), return_exceptions=True
    )
    assert [answer for answer in answers if answer is not None and not isinstance(answer, UsageError)] == []
    assert answers.count(None) == 1
    values = [message.value async for message in log.browse(topic)]
    assert values.count(VALUE) == 2
    assert await letters(dead, topic) == []


async def test_what_a_redrive_did_not_come_to_is_free_at_once(log: EventLog, topic: str) -> None:
    dead = DeadLetters(log, "g", [topic])
    message = await published(log, topic)
    for text in ("one", "two", "three"):
        await dead.put(message, InvalidEvent(text), stage="decode")

    async with aclosing(dead.redrive_all(dead.list())) as done:
        async for _ in done:
            break
    again = [each async for each in dead.redrive_all(dead.list())]
    assert [each.was_sent for each in again] == [True, True]
    assert len([message async for message in log.browse(topic)]) == 4


@pytest.mark.parametrize("where", ["0/1", f"0/{10**30}", f"{10**30}/0", "7/0"])
async def test_a_letter_that_is_not_there_is_said(log: EventLog, topic: str, where: str) -> None:
    dead = DeadLetters(log, "g", [topic])
    await dead.put(await published(log, topic), InvalidEvent("poison"), stage="decode")
    with pytest.raises(UsageError, match="no dead letter"):
        await dead.find(f"{dead_letter_topic(topic)}/{where}")


async def test_a_letter_of_unknown_origin_cannot_be_redriven(log: EventLog, topic: str) -> None:
    dead = DeadLetters(log, "g", [topic])
    await log.publish(dead_letter_topic(topic), [OutgoingMessage(b"k", b"not ours")])
    (letter,) = await letters(dead, topic)
    with pytest.raises(UsageError, match="does not say"):
        await dead.redrive(letter)


async def test_purging_the_redriven_stops_at_the_first_that_waits(log: EventLog, topic: str) -> None:
    dead = DeadLetters(log, "g", [topic])
    message = await published(log, topic)
    for text in ("one", "two", "three"):
        await dead.put(message, InvalidEvent(text), stage="decode")
    first, second, third = await letters(dead, topic)
    await dead.redrive(first)
    await dead.redrive(third)
    mine = dead_letter_topic(topic)

    chosen = [each for each in await dead.purgeable(only_redriven=True) if each.where.topic == mine]
    assert [each.letters for each in chosen] == [1]
    assert await log.read(first.message.position) is not None
    await dead.purge(chosen)
    assert await log.read(first.message.position) is None
    assert await letters(dead, topic) == [second]


async def test_purging_by_age_leaves_the_younger(log: EventLog, topic: str) -> None:
    dead = DeadLetters(log, "g", [topic])
    message = await published(log, topic)
    await dead.put(message, InvalidEvent("one"), stage="decode")
    (letter,) = await letters(dead, topic)
    await dead.purge(await dead.purgeable(before_ms=letter.message.timestamp_ms))
    assert await letters(dead, topic) == [letter]
    await dead.purge(await dead.purgeable(before_ms=letter.message.timestamp_ms + 1))
    assert await letters(dead, topic) == []


async def test_a_letter_that_came_after_the_choice_is_not_purged(log: EventLog, topic: str) -> None:
    dead = DeadLetters(log, "g", [topic])
    message = await published(log, topic)
    await dead.put(message, InvalidEvent("one"), stage="decode")
    chosen = await dead.purgeable()
    await dead.put(message, InvalidEvent("two"), stage="decode")
    await dead.purge(chosen)
    (letter,) = await letters(dead, topic)
    assert letter.info is not None
    assert letter.info.message == "two"


async def test_topics_of_other_applications_are_neither_read_nor_purged(log: EventLog, topic: str) -> None:
    dead = DeadLetters(log, "g", [topic])
    await dead.put(await published(log, topic), InvalidEvent("poison"), stage="decode")
    foreign = dead_letter_topic(f"orders-{uuid4().hex}")
    await log.publish(foreign, [OutgoingMessage(b"k", b"an order", (("__connect.errors.topic", b"orders"),))])

    assert {letter.message.topic async for letter in dead.list()} == {dead_letter_topic(topic)}
    chosen = await dead.purgeable()
    assert {each.where.topic for each in chosen} == {dead_letter_topic(topic)}
    await dead.purge(chosen)
    assert [message.value async for message in log.browse(foreign)] == [b"an order"]
    with pytest.raises(UsageError, match="no dead letter"):
        await dead.find(f"{foreign}/0/0")


async def test_a_message_that_archon_did_not_write_is_not_purged(log: EventLog, topic: str) -> None:
    dead = DeadLetters(log, "g", [topic])
    mine = dead_letter_topic(topic)
    await log.publish(mine, [OutgoingMessage(KEY, b"not ours")])
    await dead.put(await published(log, topic), InvalidEvent("poison"), stage="decode")
    await dead.purge(await dead.purgeable())
    assert b"not ours" in [message.value async for message in log.browse(mine)]


@pytest.mark.xdist_group(GROUP)
async def test_a_dead_letter_topic_that_cannot_be_written_is_told(kafka: Broker, topic: str) -> None:
    async with KafkaLog(kafka.settings(create_topics=True)) as log:
        message = await published(log, topic)
    async with KafkaLog(kafka.settings()) as log:
        with pytest.raises(BackendUnavailable, match=r"\.dlq"):
            await DeadLetters(log, "g", [topic]).put(message, InvalidEvent("poison"), stage="decode")
