"""Which paths of dead letters are out of date: what the log knows of newer requests, before a redrive."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import NamedTuple

from core.errors import InvalidEvent
from core.events.codec import decode_request, leave_out
from core.events.order import RequestPosition, position_in
from core.events.request import IndexRequest
from core.events.topics import FILE_INTELLIGENCE
from core.letter import DeadLetter, origin_of
from core.log.base import EventLog, LogMessage, Position
from core.superseding import paths_of, position_at, position_of

GROUP_LETTERS = 1000
GROUP_BYTES = 64 << 20

_Key = tuple[str, str]


class Rest(NamedTuple):
    """What is left of a letter to send; `value` is None where newer requests name all of its paths."""

    value: bytes | None
    superseded: int


async def in_groups(letters: AsyncIterable[DeadLetter]) -> AsyncIterator[list[DeadLetter]]:
    """The letters in groups that fit into memory: one search of the log serves a whole group."""
    group: list[DeadLetter] = []
    held = 0
    async for letter in letters:
        size = len(letter.message.value or b"")
        if group and (len(group) >= GROUP_LETTERS or held + size > GROUP_BYTES):
            yield group
            group, held = [], 0
        group.append(letter)
        held += size
    if group:
        yield group


class Newest:
    """The newest requests for the paths of some letters.

    `ends` says by topic up to which offset each partition of a request topic was searched.
    """

    def __init__(self, wanted: set[_Key]) -> None:
        self.ends: dict[str, dict[int, int]] = {}
        self._wanted = wanted
        self._newest: dict[_Key, list[RequestPosition]] = defaultdict(list)
        self._unplaced_ms: dict[_Key, int] = {}

    @classmethod
    async def of(
        cls, log: EventLog, group: str, letters: Sequence[DeadLetter], topics: Sequence[str]
    ) -> Newest:
        """Search the results topic for what was processed, and the request topics for what still waits.

        `topics` are the request topics. A letter's own partition is searched from its request on, because
        a newer request may have been dead-lettered too. Memory grows with the paths of `letters` only.
        Raises `BackendUnavailable`.
        """
        known = [letter for letter in letters if letter.info]
        requests = [request for letter in known if (request := _request_of(letter))]
        wanted = {(request.project_name, path) for request in requests for path in paths_of(request)}
        origins = [origin_of(letter) for letter in known]
        existing = set(await log.topics())
        searched = {origin.topic for origin in origins} | existing.intersection(topics)
        newest = cls(wanted)
        newest.ends = {topic: {} for topic in searched}
        starts: dict[str, dict[int, int]] = {topic: {} for topic in searched}
        for each in await log.lag(group, sorted(searched)) if searched else ():
            newest.ends[each.topic][each.partition] = each.end
            starts[each.topic][each.partition] = max(each.begin, each.committed or 0)
        for origin in origins:
            if (start := starts[origin.topic].get(origin.partition)) is not None:
                starts[origin.topic][origin.partition] = min(start, origin.offset + 1)
        if wanted:
            if FILE_INTELLIGENCE in existing:
                await newest._read_results(log)
            for topic, first in starts.items():
                await newest._read_requests(log, topic, first)
        return newest

    async def catch_up(self, log: EventLog, sent: Position) -> None:
        """Search up to a message that was just sent, so that the next one has nothing left to look for."""
        ends = self.ends[sent.topic]
        if ends.get(sent.partition) == sent.offset:  # nobody else wrote in between
            ends[sent.partition] = sent.offset + 1
        else:
            await self._read_requests(log, sent.topic, dict(ends))

    def rest_of(self, letter: DeadLetter) -> Rest:
        """The letter's event without the paths that newer requests name."""
        request = _request_of(letter)
        value = letter.message.value or b""
        if request is None:
            return Rest(value, 0)
        mine = position_at(origin_of(letter), request)
        died_ms = letter.message.timestamp_ms
        keys = {path: (request.project_name, path) for path in paths_of(request)}
        out = {path for path, key in keys.items() if self._has_newer(key, mine, died_ms)}
        if not out:
            return Rest(value, 0)
        return Rest(leave_out(value, out) if len(out) < len(paths_of(request)) else None, len(out))

    def _has_newer(self, key: _Key, mine: RequestPosition, died_ms: int) -> bool:
        """An older archon's record has no position; written after the letter, it is of a newer request."""
        if self._unplaced_ms.get(key, 0) > died_ms:
            return True
        return any(mine.is_older_than(other) for other in self._newest.get(key, ()))

    async def _read_results(self, log: EventLog) -> None:
        async for message in log.browse(FILE_INTELLIGENCE):
            if (key := _file_of(message.key)) not in self._wanted or key is None:
                continue
            if position := position_in(message.headers):
                self._note(key, position)
            else:
                self._unplaced_ms[key] = max(self._unplaced_ms.get(key, 0), message.timestamp_ms)

    async def _read_requests(self, log: EventLog, topic: str, starts: dict[int, int]) -> None:
        ends = self.ends[topic]
        async for message in log.browse(topic, starts=starts):
            ends[message.partition] = max(ends.get(message.partition, 0), message.offset + 1)
            self._add(message)

    def _note(self, key: _Key, position: RequestPosition) -> None:
        """Keep a position, and of those known only the ones that are not older."""
        known = self._newest[key]
        if not any(position == other or position.is_older_than(other) for other in known):
            known[:] = [other for other in known if not other.is_older_than(position)] + [position]

    def _add(self, message: LogMessage) -> None:
        try:
            request = decode_request(message.value)
        except InvalidEvent:
            return
        position = position_of(message, request)
        for path in paths_of(request):
            if (request.project_name, path) in self._wanted:
                self._note((request.project_name, path), position)


def _request_of(letter: DeadLetter) -> IndexRequest | None:
    """The letter's request; None for one that cannot be decoded, which goes as it is."""
    try:
        return decode_request(letter.message.value)
    except InvalidEvent:
        return None


def _file_of(key: bytes | None) -> _Key | None:
    """Project and path from a record's key, the JSON array `[project, path]`."""
    try:
        project, path = json.loads(key or b"")
    except (ValueError, TypeError):
        return None
    return (project, path) if isinstance(project, str) and isinstance(path, str) else None
