"""Which paths of dead letters are out of date: what the log knows of newer requests, before a redrive."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import NamedTuple

from core.errors import InvalidEvent
from core.events.codec import decode_request, leave_out
from core.events.dead_letter import Place
from core.events.order import RequestPosition, position_in
from core.events.request import IndexRequest
from core.events.topics import FILE_INTELLIGENCE
from core.letter import DeadLetter, origin_of
from core.log.base import EventLog, LogMessage
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

    `ends` are the ends of each request topic's partitions at the time of the search, by topic.
    """

    def __init__(self, ends: dict[str, dict[int, int]]) -> None:
        self.ends = ends
        self._newest: dict[_Key, list[RequestPosition]] = defaultdict(list)

    @classmethod
    async def of(cls, log: EventLog, group: str, letters: Sequence[DeadLetter]) -> Newest:
        """Search the results topic for what was processed, and the request topics for what still waits.

        Memory grows with the paths of `letters` only. Raises `BackendUnavailable`.
        """
        known = [letter for letter in letters if letter.info]
        requests = [request for letter in known if (request := _request_of(letter))]
        wanted = {(request.project_name, path) for request in requests for path in paths_of(request)}
        topics = {origin_of(letter).topic for letter in known}
        ends: dict[str, dict[int, int]] = {topic: {} for topic in topics}
        for each in await log.lag(group, sorted(topics)):
            ends[each.topic][each.partition] = each.end
        newest = cls(ends)
        if wanted:
            await newest._read_results(log, wanted)
            await newest._read_requests(log, wanted, [origin_of(letter) for letter in known])
        return newest

    def rest_of(self, letter: DeadLetter) -> Rest:
        """The letter's event without the paths that newer requests name."""
        request = _request_of(letter)
        value = letter.message.value or b""
        if request is None:
            return Rest(value, 0)
        mine = position_at(origin_of(letter), request)
        out = {path for path in paths_of(request) if self._has_newer((request.project_name, path), mine)}
        if not out:
            return Rest(value, 0)
        return Rest(leave_out(value, out) if len(out) < len(paths_of(request)) else None, len(out))

    def _has_newer(self, key: _Key, mine: RequestPosition) -> bool:
        return any(mine.is_older_than(other) for other in self._newest.get(key, ()))

    async def _read_results(self, log: EventLog, wanted: set[_Key]) -> None:
        if FILE_INTELLIGENCE not in await log.topics():
            return
        async for message in log.browse(FILE_INTELLIGENCE):
            key = _file_of(message.key)
            if key in wanted and (position := position_in(message.headers)):
                self._newest[key].append(position)

    async def _read_requests(self, log: EventLog, wanted: set[_Key], origins: Sequence[Place]) -> None:
        for topic, ends in self.ends.items():
            starts = dict(ends)
            for origin in origins:
                if origin.topic == topic:
                    after = origin.offset + 1
                    starts[origin.partition] = min(starts.get(origin.partition, after), after)
            async for message in log.browse(topic, starts=starts):
                self._add(message, wanted)

    def _add(self, message: LogMessage, wanted: set[_Key]) -> None:
        try:
            request = decode_request(message.value)
        except InvalidEvent:
            return
        position = position_of(message, request)
        for path in paths_of(request):
            if (request.project_name, path) in wanted:
                self._newest[request.project_name, path].append(position)


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
