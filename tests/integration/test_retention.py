"""Which objects are needed, as request topics and their dead letters tell."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.assembly.stores import open_log
from core.errors import UsageError
from core.events.codec import decode_request
from core.events.topics import REQUESTED_V2, dead_letter_topic
from core.log.base import OutgoingMessage, Position
from core.retention import collect_garbage, references
from core.settings import Settings, load
from core.storage.garbage import GarbageRules
from core.storage.local import LocalStorageClient
from tests.faults.order_world import request_event
from tests.repositories import commit

DAY = timedelta(days=1)


def rules(now: datetime) -> GarbageRules:
    return GarbageRules(now, 30 * DAY, 2 * DAY)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"home": tmp_path / "home"}, environ={}).settings


@pytest.fixture
def storage(settings: Settings) -> LocalStorageClient:
    return LocalStorageClient(settings.objects_dir)


async def published(settings: Settings, repository: Path) -> str:
    """Ingest; the key of the one large file."""
    async with ingestion(settings, Target(repository)) as job:
        await job.publisher.publish(job.planner.stream())
    async with open_log(settings) as log:
        requests = [decode_request(message.value) async for message in log.browse(REQUESTED_V2)]
    (key,) = {file.object_key for request in requests for file in request.files if file.object_key}
    return key


async def test_an_object_stays_as_long_as_an_event_or_a_dead_letter_needs_it(
    settings: Settings, storage: LocalStorageClient, tmp_path: Path
) -> None:
    key = await published(settings, commit(tmp_path / "shop", {"big.dat": os.urandom(200_000)}))
    path = storage.local_path(key)
    assert path
    os.utime(path, (time.time() - 9 * 86_400,) * 2)
    now = datetime.now(UTC)
    async with open_log(settings) as log:
        (message,) = [message async for message in log.browse(REQUESTED_V2)]
        assert (await references(log, [REQUESTED_V2], "local")).keys
        assert not (await references(log, [REQUESTED_V2], "another-bucket")).keys
        report = await collect_garbage(log, [REQUESTED_V2], storage, rules(now), remove=True)
        assert (report.referenced, report.removed) == (1, 0)

        # The event goes, its dead letter and some poison stay.
        letters = dead_letter_topic(REQUESTED_V2)
        for value in (message.value, b"poison"):
            (answer,) = await log.publish(letters, [OutgoingMessage(None, value)])
            assert isinstance(answer, Position)
        await log.delete_before(message.where, message.offset + 1)
        report = await collect_garbage(log, [REQUESTED_V2], storage, rules(now), remove=True)
        assert (report.referenced, report.removed) == (1, 0)

        report = await collect_garbage(log, [REQUESTED_V2], storage, rules(now + 31 * DAY), remove=True)
        assert (report.referenced, report.removed) == (0, 1)
    assert not path.exists()


async def test_a_log_without_events_decides_nothing(settings: Settings, storage: LocalStorageClient) -> None:
    async with open_log(settings) as log:
        with pytest.raises(UsageError, match="holds no event"):
            await collect_garbage(log, [REQUESTED_V2], storage, rules(datetime.now(UTC)), remove=True)


async def test_an_object_that_only_an_event_of_a_newer_schema_names_stays(
    settings: Settings, storage: LocalStorageClient, tmp_path: Path
) -> None:
    key = await published(settings, commit(tmp_path / "shop", {"big.dat": os.urandom(200_000)}))
    path = storage.local_path(key)
    assert path
    os.utime(path, (time.time() - 9 * 86_400,) * 2)
    async with open_log(settings) as log:
        (message,) = [message async for message in log.browse(REQUESTED_V2)]
        newer = (message.value or b"").replace(b'"schema_version":"2.0.0"', b'"schema_version":"3.0.0"')
        assert newer != message.value
        letters = dead_letter_topic(REQUESTED_V2)
        await log.publish(letters, [OutgoingMessage(None, newer)])
        await log.publish(REQUESTED_V2, [OutgoingMessage(None, request_event("other", "a.py", "x = 1\n"))])
        await log.delete_before(message.where, message.offset + 1)
        report = await collect_garbage(log, [REQUESTED_V2], storage, rules(datetime.now(UTC)), remove=True)
    assert report.removed == 0
    assert path.exists()
