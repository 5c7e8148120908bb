"""Garbage collection: which objects nobody can want any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.storage.base import ContentStorageClient, StoredObject
from core.storage.keys import PREFIX, checksum_of

_AT_ONCE = 500


@dataclass(slots=True)
class GarbageReport:
    """What a collection found, or did where `removed` says so. `bytes` are of the garbage."""

    objects: int = 0
    referenced: int = 0
    young: int = 0
    foreign: int = 0
    garbage: int = 0
    bytes: int = 0
    removed: int = 0
    unfinished: int = 0
    sample: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class GarbageRules:
    """Objects referenced by an event younger than `retention` stay, and all younger than `grace`.

    `grace` must exceed the time for which a publisher trusts an object that is there already (the
    presigned lifetime), or an object could go between being found and being referred to.
    """

    now: datetime
    retention: timedelta
    grace: timedelta

    def newest_references(self, events: Iterable[tuple[str, datetime]]) -> dict[str, datetime]:
        """Per key the newest of its references within the retention."""
        newest: dict[str, datetime] = {}
        for key, when in events:
            if self.now - when < self.retention:
                newest[key] = max(when, newest.get(key, when))
        return newest

    def is_young(self, item: StoredObject) -> bool:
        """Whether an object may belong to an event that is only being written."""
        return self.now - item.modified < self.grace


async def collect(
    storage: ContentStorageClient,
    references: Mapping[str, datetime],
    rules: GarbageRules,
    *,
    remove: bool,
) -> GarbageReport:
    """Find the garbage below `projects/`, and remove it if told to.

    Only objects whose keys are of archon's form are ever garbage. Raises as the storage does.
    """
    report = GarbageReport()
    batch: list[str] = []
    async for key, size in _garbage(storage, references, rules, report):
        report.garbage += 1
        report.bytes += size
        if len(report.sample) < 10:
            report.sample.append(key)
        batch.append(key)
        if remove and len(batch) >= _AT_ONCE:
            await storage.delete(batch)
            report.removed += len(batch)
            batch = []
    if remove:
        await storage.delete(batch)
        report.removed += len(batch)
        report.unfinished = await storage.abandon_unfinished(rules.now - rules.grace)
    return report


async def _garbage(
    storage: ContentStorageClient,
    references: Mapping[str, datetime],
    rules: GarbageRules,
    report: GarbageReport,
) -> AsyncIterator[tuple[str, int]]:
    async for item in storage.list(PREFIX):
        report.objects += 1
        if checksum_of(item.key) is None:
            report.foreign += 1
        elif item.key in references:
            report.referenced += 1
        elif rules.is_young(item):
            report.young += 1
        else:
            yield item.key, item.size
