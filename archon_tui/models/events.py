"""The log's newest messages as the Events screen shows them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from archon_tui.filters import Fields
from archon_tui.models.lag import short
from archon_tui.widgets.painted import Line
from core import units
from core.dead_letters import DeadLetters
from core.events.dead_letter import read
from core.events.preview import preview
from core.events.topics import COMPLETED, FAILED, FILE_INTELLIGENCE, dead_letter_topic
from core.log.base import EventLog, LogMessage, Position
from core.safety.redact import redact

PER_TOPIC = 50
KEPT = 1000


class Kind(Enum):
    """What a message is. The value is (word, glyph, style)."""

    REQUEST = ("request", "→", "inline")
    RESULT = ("result", "✓", "ok")
    COMPLETED = ("completed", "✓", "ok")
    FAILURE = ("failure", "✗", "fail")
    DEAD_LETTER = ("dead letter", "✗", "fail")

    @property
    def word(self) -> str:
        return self.value[0]


@dataclass(frozen=True, slots=True)
class EventRow:
    """A message without its value, which may be megabytes: it is read again to be looked into."""

    kind: Kind
    position: Position
    at: datetime
    key: str
    size: int
    summary: str
    redriven: bool = False

    @property
    def id(self) -> str:
        return f"{self.position.topic}/{self.position.partition}/{self.position.offset}"


FIELDS: Fields[EventRow] = Fields(
    text=lambda row: f"{row.id} {row.key} {row.summary}",
    size=lambda row: row.size,
    named={"kind": lambda row: row.kind.word, "topic": lambda row: row.position.topic},
)


def kind_of(topic: str, requests: Sequence[str]) -> Kind | None:
    """What the messages of a topic are; None for a topic that is not shown."""
    if topic.endswith(dead_letter_topic("")):
        return Kind.DEAD_LETTER
    if topic in requests:
        return Kind.REQUEST
    return {COMPLETED: Kind.COMPLETED, FAILED: Kind.FAILURE, FILE_INTELLIGENCE: Kind.RESULT}.get(topic)


class Tail:
    """The newest messages of a log, read a few at a time."""

    def __init__(self, requests: Sequence[str]) -> None:
        self._requests = tuple(requests)
        self._rows: dict[Position, EventRow] = {}

    async def look(self, log: EventLog, group: str) -> list[EventRow]:
        """Everything known, newest first. Raises what the log raises."""
        for topic in await log.topics():
            kind = kind_of(topic, self._requests)
            if kind is None:
                continue
            async for message in log.browse(topic, limit=PER_TOPIC, newest_first=True):
                if message.position in self._rows:
                    break
                self._rows[message.position] = row_of(message, kind)
        waiting = (
            {letter.id async for letter in DeadLetters(log, group, self._requests).list()}
            if self._has_letters()
            else set()
        )
        rows = [self._marked(row, waiting) for row in self._rows.values()]
        rows.sort(key=lambda row: (row.at, row.position), reverse=True)
        self._rows = {row.position: row for row in rows[:KEPT]}
        return rows[:KEPT]

    def _has_letters(self) -> bool:
        return any(row.kind is Kind.DEAD_LETTER for row in self._rows.values())

    def _marked(self, row: EventRow, waiting: set[str]) -> EventRow:
        gone = row.kind is Kind.DEAD_LETTER and row.id not in waiting
        if gone == row.redriven:
            return row
        return EventRow(row.kind, row.position, row.at, row.key, row.size, row.summary, gone)


def row_of(message: LogMessage, kind: Kind) -> EventRow:
    """A message in a row."""
    return EventRow(
        kind,
        message.position,
        datetime.fromtimestamp(message.timestamp_ms / 1000, UTC),
        (message.key or b"").decode("utf-8", "surrogateescape"),
        len(message.value or b""),
        _summary(message, kind),
    )


def _summary(message: LogMessage, kind: Kind) -> str:
    if kind is Kind.DEAD_LETTER:
        info = read(message.headers)
        return f"{info.reason}: {info.message}" if info else "says nothing of its origin"
    if kind is Kind.REQUEST:
        return ""  # may be megabytes of contents: looked into only when asked for
    data = preview(message.value)
    payload = data.get("payload") if isinstance(data, dict) else None
    if not isinstance(payload, dict):
        return "not an event"
    if kind is Kind.COMPLETED:
        return (
            f"{payload.get('project_name')}: {payload.get('files_indexed')} indexed,"
            f" {payload.get('files_failed')} failed in {payload.get('processing_time_ms')} ms"
        )
    if kind is Kind.FAILURE:
        return f"{payload.get('project_name')}: {payload.get('error_code')}: {payload.get('error_message')}"
    return f"{payload.get('project')}: {payload.get('path')}"


def message_lines(message: LogMessage) -> list[Line]:
    """Key, headers and decoded payload, contents elided."""
    lines: list[Line] = [
        [(f"{short(message.topic)}/{message.partition}/{message.offset}", "bold")],
        [
            ("written  ", "dim"),
            (f"{datetime.fromtimestamp(message.timestamp_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC", ""),
        ],
        [
            ("key      ", "dim"),
            ("–" if message.key is None else message.key.decode("utf-8", "surrogateescape"), ""),
        ],
        [
            ("value    ", "dim"),
            ("tombstone" if message.value is None else units.size(len(message.value)), ""),
        ],
        [],
    ]
    if info := read(message.headers):
        lines += [
            [("✗ ", "fail"), (f"{info.reason}: {info.message}", "fail")],
            [
                ("at stage ", "dim"),
                (f"{info.stage}, {info.exception_class}, after {info.attempts} attempts", ""),
            ],
            [("origin   ", "dim"), (f"{short(info.topic)}/{info.partition}/{info.offset}", "")],
            [],
        ]
    if message.headers:
        lines.append([("headers", "title")])
        lines += [
            [(f"  {name} ", "dim"), (redact(value.decode("utf-8", "surrogateescape")), "")]
            for name, value in message.headers
        ]
        lines.append([])
    lines.append([("payload", "title")])
    shown: Any = preview(message.value)
    text = shown if isinstance(shown, str) else json.dumps(shown, indent=2, ensure_ascii=False)
    return [*lines, *([(f"  {part}", "")] for part in text.split("\n")[:2000])]


async def letters_of(dead_letters: DeadLetters, ids: Iterable[str]) -> AsyncIterator[Any]:
    """The dead letters of these ids, one after another."""
    for letter_id in ids:
        yield await dead_letters.find(letter_id)
