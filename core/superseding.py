"""Newer requests for the paths of an older one: a redriven letter must not bring back what they replaced."""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import aclosing
from datetime import UTC, datetime

from core.errors import InvalidEvent
from core.events.codec import decode_request
from core.events.dead_letter import Place, redriven
from core.events.order import RequestPosition
from core.events.request import IndexRequest
from core.log.base import EventLog, LogMessage

logger = logging.getLogger(__name__)


def place_of(message: LogMessage) -> Place:
    """Where a message stands."""
    return Place(message.topic, message.partition, message.offset, message.timestamp_ms, message.log_clock)


def position_of(message: LogMessage, request: IndexRequest) -> RequestPosition:
    """The position that orders a request: its own, or where it stood before it was redriven."""
    place = place_of(message)
    if told := redriven(message.headers, place):
        place = told.origin
    return position_at(place, request)


def position_at(place: Place, request: IndexRequest) -> RequestPosition:
    """The position of a request that stands at `place`."""
    return RequestPosition(
        requested_at=request.timestamp,
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
        logged_at=datetime.fromtimestamp(max(0, place.timestamp_ms) / 1000, UTC),
        log_clock=place.log_clock,
    )


def paths_of(request: IndexRequest) -> set[str]:
    """Every path that a request is about."""
    return {file.relative_path for file in request.files}.union(request.deleted_files)


async def superseded(
    log: EventLog, group: str, message: LogMessage, request: IndexRequest
) -> Collection[str]:
    """The paths of a redriven message that newer requests in its partition name; empty for other messages.

    Whoever redrove it has searched the log up to `seen`; what came between that and the message is
    searched here. Raises `BackendUnavailable` where the log cannot be read.
    """
    if not (told := redriven(message.headers, place_of(message))):
        return ()
    wanted, found = paths_of(request), set[str]()
    if told.seen >= message.offset:
        return found
    ends = {each.partition: each.end for each in await log.lag(group, [message.topic])}
    starts = ends | {message.partition: told.seen}
    async with aclosing(log.browse(message.topic, starts=starts)) as others:  # type: ignore[type-var]
        async for other in others:
            if other.partition != message.partition:
                continue
            if other.offset >= message.offset:
                break
            newer = named_by(other, request.project_name, wanted)
            if newer and request.position and request.position.is_older_than(newer[0]):
                found |= newer[1]
    return found


def named_by(
    message: LogMessage, project: str, paths: Collection[str]
) -> tuple[RequestPosition, set[str]] | None:
    """The position of a request and those of `paths` it names; None where it names none of them."""
    try:
        request = decode_request(message.value)
    except InvalidEvent:
        return None
    if request.project_name != project:
        return None
    named = paths_of(request).intersection(paths)
    return (position_of(message, request), named) if named else None
