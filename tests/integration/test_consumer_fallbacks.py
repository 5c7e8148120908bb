"""Every row of the consumer's fallback matrix, its fault injected through real servers.

Each test shows what is done first, every stand-in of its row, and the dead letter at the end; summary,
counters, events and log lines must tell the same (`Seen.agree`).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.assembly.stores import open_log
from core.events.common import ContentStrategy
from core.events.topics import REQUESTED_V1
from core.fallbacks import CONSUMER
from core.log.base import OutgoingMessage
from core.progress import BreakerChanged, FileFailed, FileResolved
from tests.bare_repositories import BareRepository
from tests.fallback_world import LOCAL, MANY, PUSHED, Consumed, Matrix, World, world
from tests.servers.fault_proxy import Reset, Status
from tests.servers.git_http import Fault
from tests.servers.s3 import S3Server

matrix = Matrix(CONSUMER)
INLINE, STORAGE, GIT, PATH = "inline", "object_storage", "git_reference", "local_path"
DAMAGED = "the content does not decode or is not what its checksum says"
LINK = "the presigned link has expired or is refused"
NEITHER = "the agent may neither read the bucket nor follow the link"
GONE = "the object is gone"
STORAGE_FAILS = "storage fails"
CORRUPT = "the object is not what its checksum says"
GIT_FAILS = "the Git host fails"
NO_COMMIT = "the host has no such commit or blob"
NO_PATH = "the path of a v1 event is not on this machine"
ONE_EACH = {"publish.batch_size": 1, "breaker.failures": 2}


@pytest.fixture
async def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    ministack: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> AsyncIterator[World]:
    """Other files to be pushed are the parameter."""
    more = getattr(request, "param", {})
    async with world(tmp_path, ministack, monkeypatch, caplog, more) as made:
        yield made


def test_every_row_of_the_table_is_injected() -> None:
    matrix.is_whole()


def lost(seen: Consumed, reason: str) -> list[str]:
    """Paths that ended as dead letters, all for `reason`; they count, are logged, and the letter says so."""
    failed = [event for event in seen.events if isinstance(event, FileFailed)]
    assert {event.reason for event in failed} <= {reason}
    assert (seen.summary.files_failed, seen.summary.dead_lettered > 0) == (len(failed), bool(failed))
    if failed:
        counted = f'archon_ingestion_failed_files_total{{reason="{reason}",side="consume"}} {len(failed)}.0'
        assert counted in seen.metrics
        assert "dead-lettered" in seen.logged
        assert reason.encode() in dict(seen.letters[-1].headers).values()
    return sorted(event.path for event in failed)


def sources(seen: Consumed) -> dict[str, str]:
    """Where each file came from; its bytes are always the right ones, or it would not be resolved."""
    return {event.path: str(event.source) for event in seen.events if isinstance(event, FileResolved)}


@matrix.injects(INLINE, DAMAGED)
async def test_inline_content_that_is_damaged_comes_from_git(place: World) -> None:
    await place.publish(INLINE)
    assert lost(await place.consume(), "") == []
    runs = []
    for damage, reason in ("!", "invalid_event"), ("eCA9IDIK", "checksum_mismatch"):

        def spoil(event: dict[str, Any], damage: str = damage) -> None:
            for file in event["payload"]["files"]:
                if file["content_strategy"] == INLINE:
                    file |= {"content": damage, "content_encoding": "base64"}

        await place.change_event(spoil)
        runs.append(seen := await place.consume())
        assert sources(seen)["small.py"] == GIT
        assert lost(seen, reason) == ["local.bin", "local.py"]
    matrix.proves(INLINE, DAMAGED, *runs)


@matrix.injects(STORAGE, LINK)
async def test_a_link_that_no_longer_works_gives_way_to_the_key_and_then_to_git(place: World) -> None:
    await place.publish(STORAGE)
    place.storage.requests.clear()
    place.storage.only = "X-Amz-Signature"
    place.storage.script.extend([Status(403)] * len(PUSHED | LOCAL))
    refused = await place.consume()
    assert refused.fallbacks == {"presigned_link -> object_key: access_denied": 6}
    assert set(sources(refused).values()) == {STORAGE}
    asked = [line for line in place.storage.requests if "/projects/" in line]
    assert sum("X-Amz-Signature" in line for line in asked) == len(asked) // 2

    def expire(event: dict[str, Any]) -> None:
        for file in event["payload"]["files"]:
            file["content_url_expires_at"] = "2020-01-01T00:00:00Z"

    await place.change_event(expire)
    place.storage.requests.clear()
    expired = await place.consume()
    assert expired.fallbacks == {"presigned_link -> object_key: link_expired": 6}
    assert not [line for line in place.storage.requests if "X-Amz-Signature" in line]

    # An agent without rights of its own has only the link, and then Git.
    await place.change_event(expire)
    place.storage.script.extend([Status(403)] * len(PUSHED | LOCAL))
    without = await place.consume(**{"storage.read_by_key": False})
    assert without.fallbacks == {"object_storage -> git_reference: access_denied": 3}
    assert lost(without, "access_denied") == sorted(LOCAL)
    assert b"it has expired" in b"".join(dict(without.letters[-1].headers).values())
    matrix.proves(STORAGE, LINK, without)


@matrix.injects(STORAGE, NEITHER)
async def test_an_agent_without_storage_reads_from_git(place: World) -> None:
    await place.publish(STORAGE)
    seen = await place.consume(**{"storage.provider": "none"})
    assert seen.fallbacks == {"object_storage -> git_reference: not_configured": 3}
    # Of those committed but not pushed, Git is the only source that there is to ask.
    assert lost(seen, "missing_blob") == sorted(LOCAL)
    matrix.proves(STORAGE, NEITHER, seen)


@matrix.injects(STORAGE, GONE)
async def test_an_object_that_is_gone_comes_from_git(place: World) -> None:
    await place.publish(STORAGE)
    client = place.server.client()
    for item in client.list_objects_v2(Bucket=place.bucket)["Contents"]:
        client.delete_object(Bucket=place.bucket, Key=item["Key"])
    seen = await place.consume()
    assert {path for path, source in sources(seen).items() if source == GIT} == PUSHED.keys()
    assert lost(seen, "content_missing") == sorted(LOCAL)
    matrix.proves(STORAGE, GONE, seen)


@pytest.mark.parametrize("place", [MANY], indirect=True)
@matrix.injects(STORAGE, STORAGE_FAILS)
async def test_dead_storage_is_left_alone_and_git_stands_in(place: World) -> None:
    await place.publish(STORAGE, ONE_EACH)
    place.storage.always = Reset()
    place.storage.requests.clear()
    seen = await place.consume(**ONE_EACH, **{"agent.file_deadline": "3s"})
    assert {path for path, source in sources(seen).items() if source == GIT} == (PUSHED | MANY).keys()
    assert [event.state for event in seen.events if isinstance(event, BreakerChanged)] == ["open"]
    assert 'archon_circuit_breakers_tripped{kind="object_storage",side="consume"} 1.0' in seen.metrics
    assert "circuit breaker of object_storage" in seen.logged
    assert (seen.summary.files_failed, seen.summary.dead_lettered) == (len(LOCAL), len(LOCAL))
    matrix.proves(STORAGE, STORAGE_FAILS, seen)


@matrix.injects(STORAGE, CORRUPT)
async def test_an_object_that_is_not_the_file_is_fetched_once_more_and_then_comes_from_git(
    place: World,
) -> None:
    await place.publish(STORAGE)
    client = place.server.client()
    for item in client.list_objects_v2(Bucket=place.bucket)["Contents"]:
        client.put_object(Bucket=place.bucket, Key=item["Key"], Body=b"?" * item["Size"])
    place.storage.requests.clear()
    seen = await place.consume(**{"agent.attempts": 3})
    asked = [line.partition("?")[0] for line in place.storage.requests if "/projects/" in line]
    assert all(asked.count(line) == 2 for line in asked)
    assert {path for path, source in sources(seen).items() if source == GIT} == PUSHED.keys()
    assert lost(seen, "checksum_mismatch") == sorted(LOCAL)
    matrix.proves(STORAGE, CORRUPT, seen)


@pytest.mark.parametrize("place", [MANY], indirect=True)
@matrix.injects(GIT, GIT_FAILS)
async def test_a_git_host_that_fails_is_left_alone_and_storage_stands_in(place: World) -> None:
    await _publish_by_git_what_storage_has(place)
    place.git.faults.append(Fault("status", on="", status=503))
    seen = await place.consume(**ONE_EACH, **{"agent.file_deadline": "5s"})
    stored = {path for path, source in sources(seen).items() if source == STORAGE}
    assert stored == {"small.py", "middle.bin", "local.txt", *MANY}
    assert [event.state for event in seen.events if isinstance(event, BreakerChanged)] == ["open"]
    # What the publisher did not read whole has no checksum: nothing names its object.
    assert [event.path for event in seen.events if isinstance(event, FileFailed)] == ["large.txt"]
    matrix.proves(GIT, GIT_FAILS, seen)


@matrix.injects(GIT, NO_COMMIT)
async def test_a_commit_that_the_host_has_no_more_is_found_in_storage(place: World, tmp_path: Path) -> None:
    await _publish_by_git_what_storage_has(place)
    (tmp_path / "served" / "shop.git").rename(tmp_path / "was.git")
    BareRepository(tmp_path / "served" / "shop.git").commit({"other.py": b"z = 3\n"})
    seen = await place.consume()
    assert sources(seen).keys() >= {"small.py", "middle.bin"}
    assert lost(seen, "unknown_commit") == ["large.txt"]
    matrix.proves(GIT, NO_COMMIT, seen)


async def _publish_by_git_what_storage_has(place: World) -> None:
    """An earlier run stored the contents; the one that waits refers to Git, a file an event."""
    await place.publish(STORAGE)
    assert lost(await place.consume(), "") == []
    seen = await place.publish(GIT, ONE_EACH)
    assert seen.summary.by_strategy[ContentStrategy.GIT_REFERENCE].files >= len(PUSHED)


@matrix.injects(PATH, NO_PATH)
async def test_a_v1_path_that_is_not_here_is_an_error_with_a_name(place: World, tmp_path: Path) -> None:
    event = {
        "event_id": "e", "event_type": REQUESTED_V1, "correlation_id": "job", "version": "1.0.0",
        "timestamp": "2026-01-01T00:00:00Z", "source": {"service": "s", "instance_id": "i"}, "metadata": {},
        "payload": {
            "project_name": "shop",
            "project_path": str(tmp_path),
            "files": [{"relative_path": "gone.py", "file_path": f"{tmp_path}/gone.py", "size_bytes": 1}],
        },
    }  # fmt: skip
    async with open_log(place.settings()) as log:
        await log.publish(REQUESTED_V1, [OutgoingMessage(b"k", json.dumps(event).encode())])
    seen = await place.consume()
    (failed,) = [each for each in seen.events if isinstance(each, FileFailed)]
    assert (failed.path, failed.reason) == ("gone.py", "content_missing")
    assert "its path is not on this machine: No such file or directory" in failed.message
    assert "its path is not on this machine" in seen.logged
    assert seen.summary.dead_lettered == 1
