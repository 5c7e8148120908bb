"""Every row of the publisher's fallback matrix, its fault injected through real servers.

Each test shows every stand-in of its row and the skip at the end; summary, counters, events and log lines
must tell the same (`Seen.agree`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.assembly.stores import open_log
from core.events.common import ContentStrategy
from core.events.topics import REQUESTED_V2
from core.fallbacks import PUBLISHER
from core.progress import BreakerChanged
from tests.fallback_world import Matrix, Published, World, add, world
from tests.integration.test_kafka_producer import alter
from tests.repositories import git
from tests.servers.fault_proxy import Reset, Status
from tests.servers.git_http import Fault
from tests.servers.kafka import GROUP, Broker
from tests.servers.s3 import S3Server

matrix = Matrix(PUBLISHER)
INLINE, STORAGE, GIT = "inline", "object_storage", "git_reference"
UNREACHED = "storage cannot be reached when the run starts"
UPLOAD = "an upload fails"
DENIED = "storage refuses the credentials"
NOT_PUSHED = "the remote is unknown or lacks the commit, or the file is not committed"
GIT_DOWN = "the host cannot be reached, or refuses the credentials"
OVER_LIMIT = "the file is over the inline limit"
NO_ROOM = "the file encoded is over the room in a message"
REFUSED = "the log refuses the message as too large"
NO_STORAGE = {"storage.provider": "none"}


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


def skipped(seen: Published) -> list[str]:
    """Paths that nothing could carry; each counts, and says of each strategy why not."""
    faults = seen.summary.faults
    for fault in faults:
        assert f'reason="{fault.reason}",side="publish"' in seen.metrics
        assert {"inline", "git_reference"} <= {part.partition(":")[0] for part in fault.detail.split("; ")}
    return sorted(fault.path for fault in faults)


@matrix.injects(STORAGE, UNREACHED)
async def test_storage_that_is_down_at_the_start_is_not_asked_again(place: World) -> None:
    place.storage.always = Reset()
    seen = await place.publish(STORAGE)
    assert seen.fallbacks == {
        "object_storage -> inline: backend_unavailable": 4,
        "object_storage -> git_reference: backend_unavailable": 1,
        "object_storage -> skip: backend_unavailable": 1,
    }
    assert skipped(seen) == ["local.txt"]
    assert not [line for line in place.storage.requests if not line.startswith("GET")]
    matrix.proves(STORAGE, UNREACHED, seen)


@matrix.injects(STORAGE, UPLOAD)
async def test_storage_that_dies_midway_is_left_alone(place: World) -> None:
    add(place.root, {f"more/{number:03}.py": b"z = %d\n" % number for number in range(120)})

    def die() -> None:
        place.storage.always = Reset()

    seen = await place.publish(STORAGE, once_started=die)
    assert seen.fallbacks["object_storage -> inline: circuit_open"] >= 80
    assert sum(seen.fallbacks.values()) == 126
    assert skipped(seen) == ["local.txt"]
    assert len(place.storage.requests) < 60  # those in flight, each sent again once by the HTTP client
    assert [event.state for event in seen.events if isinstance(event, BreakerChanged)] == ["open"]
    assert "circuit breaker of object_storage: closed -> open" in seen.logged
    matrix.proves(STORAGE, UPLOAD, seen)


@matrix.injects(STORAGE, DENIED)
async def test_storage_that_refuses_the_credentials_is_no_way(place: World) -> None:
    def refuse() -> None:
        place.storage.always = Status(403)

    seen = await place.publish(STORAGE, once_started=refuse)
    assert skipped(seen) == ["local.txt"]
    matrix.proves(STORAGE, DENIED, seen)


@matrix.injects(GIT, NOT_PUSHED)
async def test_what_was_not_pushed_goes_another_way(place: World) -> None:
    seen = await place.publish(GIT)
    assert seen.fallbacks == {
        "git_reference -> inline: infeasible": 2,
        "git_reference -> object_storage: infeasible": 1,
    }
    assert skipped(seen) == []
    without = await place.publish(GIT, NO_STORAGE)
    assert skipped(without) == ["local.txt"]
    assert "git_reference: not in" in without.summary.faults[0].detail
    git(place.root, "remote", "remove", "origin")
    unknown = await place.publish(GIT)
    assert sum(unknown.fallbacks.values()) == 6
    matrix.proves(GIT, NOT_PUSHED, seen, without, unknown)


@matrix.injects(GIT, GIT_DOWN)
async def test_a_git_host_that_fails_is_asked_once(place: World) -> None:
    place.git.faults.append(Fault("status", on="info/refs", status=503))
    down = await place.publish(GIT)
    assert down.fallbacks.items() >= {
        ("git_reference -> inline: backend_unavailable", 2),
        ("git_reference -> object_storage: backend_unavailable", 1),
    }
    without = await place.publish("auto", NO_STORAGE)
    assert skipped(without) == ["large.txt", "local.txt"]
    assert without.fallbacks == {"git_reference -> skip: backend_unavailable": 1}
    place.git.faults.clear()
    place.git.tokens["shop.git"] = "a secret that nobody here has"
    refused = await place.publish(GIT)
    assert refused.fallbacks["git_reference -> inline: access_denied"] == 2
    for seen in (down, refused):  # what was not pushed is the row above
        seen.fallbacks = {name: n for name, n in seen.fallbacks.items() if "infeasible" not in name}
    matrix.proves(GIT, GIT_DOWN, down, without, refused)


@matrix.injects(INLINE, OVER_LIMIT)
async def test_what_is_too_large_for_inline_goes_by_git_or_storage(place: World) -> None:
    seen = await place.publish(INLINE)
    assert seen.fallbacks == {
        "inline -> git_reference: infeasible": 1,
        "inline -> object_storage: infeasible": 1,
    }
    assert "B > 102,400 B limit" in seen.logged
    without = await place.publish(INLINE, NO_STORAGE)
    assert skipped(without) == ["local.txt"]
    matrix.proves(INLINE, OVER_LIMIT, seen, without)


@matrix.injects(INLINE, NO_ROOM)
async def test_what_is_too_large_once_encoded_goes_by_git_or_storage(place: World) -> None:
    """60,000 bytes are under the inline limit, their base64 is over the room of a message."""
    room = {"publish.max_batch_bytes": "90KB"}
    seen = await place.publish(INLINE, room)
    assert seen.summary.by_strategy[ContentStrategy.INLINE].files == 2
    assert seen.fallbacks == {
        "inline -> git_reference: infeasible": 2,
        "inline -> object_storage: infeasible": 2,
    }
    assert seen.summary.largest_message_bytes <= 90 << 10
    without = await place.publish(INLINE, room | NO_STORAGE)
    assert "local.bin" in skipped(without)
    matrix.proves(INLINE, NO_ROOM, seen, without)


@pytest.mark.xdist_group(GROUP)
@matrix.injects(INLINE, REFUSED)
async def test_what_the_log_refuses_is_split_and_then_upgraded(place: World, kafka: Broker) -> None:
    """The topic's limit is lowered on the broker once the run has asked for it."""
    place.flags |= {"kafka.servers": kafka.servers, "kafka.create_topics": True, "kafka.reach_timeout": "20s"}

    def lower(limit: str = "40000") -> None:
        alter(kafka, REQUESTED_V2, "max.message.bytes", limit)

    usual = str(6 << 20)
    runs = []
    try:
        for flags in ({}, NO_STORAGE):
            async with open_log(place.settings()) as log:
                await log.max_message_bytes(REQUESTED_V2)
            lower(usual)
            runs.append(await place.publish("auto", flags, once_started=lower))
    finally:
        lower(usual)
    seen, without = runs
    assert seen.fallbacks == {
        "inline -> git_reference: message_too_large": 1,
        "inline -> object_storage: message_too_large": 1,
    }
    assert (skipped(seen), seen.summary.files_published) == ([], 6)
    assert seen.summary.batches > 1
    assert {skip.path for skip in without.summary.faults} == {"local.bin", "local.txt"}
    assert without.fallbacks["inline -> skip: message_too_large"] == 1
    matrix.proves(INLINE, REFUSED, seen, without)
