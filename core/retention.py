"""What is still wanted of the object storage, as the event log tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from core.errors import InvalidEvent, UsageError
from core.events.codec import decode_request
from core.events.topics import dead_letter_topic
from core.log.base import EventLog
from core.storage.base import ContentStorageClient
from core.storage.garbage import GarbageReport, GarbageRules, collect
from core.storage.keys import keys_in


@dataclass(slots=True)
class References:
    """The object keys that events name, with each event's time, and how many events were read."""

    keys: list[tuple[str, datetime]] = field(default_factory=list)
    events: int = 0


async def references(log: EventLog, topics: Sequence[str], bucket: str) -> References:
    """Every reference to `bucket` in request topics and their dead letters.

    Whatever looks like an object key in an event that cannot be read counts: what is not understood is kept.
    """
    found = References()
    known = set(await log.topics())
    for topic in (*topics, *map(dead_letter_topic, topics)):
        if topic not in known:
            continue
        async for message in log.browse(topic):
            try:
                request = decode_request(message.value)
            except InvalidEvent:
                # Poison, or an event of a newer schema that may be redriven after an upgrade.
                written = datetime.fromtimestamp(max(0, message.timestamp_ms) / 1000, UTC)
                found.keys += [(key, written) for key in keys_in(message.value or b"")]
                continue
            found.events += 1
            if request.object_storage and request.object_storage.bucket == bucket:
                found.keys += [
                    (file.object_key, request.timestamp) for file in request.files if file.object_key
                ]
    return found


async def collect_garbage(
    log: EventLog,
    topics: Sequence[str],
    storage: ContentStorageClient,
    rules: GarbageRules,
    *,
    remove: bool,
) -> GarbageReport:
    """Find, and with `remove` remove, the objects of `storage` that no event of `log` needs.

    Raises `UsageError` where the log holds no event at all: it is hardly the one that was published to.
    """
    found = await references(log, topics, storage.location.bucket)
    if not found.events:
        raise UsageError(
            "the log holds no event, so nothing tells which objects are needed",
            hint="point the command at the log that was published to: --kafka-servers or --home",
        )
    return await collect(storage, rules.newest_references(found.keys), rules, remove=remove)
