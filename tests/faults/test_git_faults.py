"""Hosts that hang, drip, break off, lie or refuse cost a bounded time and leave nothing behind."""

from __future__ import annotations

import asyncio
import random
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dulwich.pack import write_pack_index

from core.errors import (
    AccessDenied,
    ArchonError,
    BackendUnavailable,
    ContentTooLarge,
    DeadlineExceeded,
    PermanentError,
)
from core.git import commit_list, packs
from core.git.errors import CloneTooLarge, CorruptPack, HostMisbehaved, RepositoryNotFound
from core.git.incoming import Incoming
from core.git.source import GitContent, GitSource, Wanted
from core.git.transfer import TransferLimits
from tests.bare_repositories import BareRepository, generated_files
from tests.git_fetching import MIB, Fetching, fetching, nothing_is_left
from tests.servers.git_http import DISCOVERY, UPLOAD_PACK, Fault, GitHttpServer

FILES = dict(generated_files(60))
LIMITS = TransferLimits(deadline_s=10, stall_s=5, max_bytes=64 * MIB)
# How long a call that is to be cut short may take at most on a busy machine, in seconds.
PATIENCE_S = 8.0


class Host:
    def __init__(self, root: Path) -> None:
        self.repository = BareRepository(root / "r.git")
        self.commit = self.repository.commit(FILES)
        self.blobs = {path: self.repository.blob(path, self.commit) for path in FILES}
        self.root = root


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(tmp_path_factory.mktemp("served"))


@pytest.fixture
def server(host: Host) -> Iterator[GitHttpServer]:
    with GitHttpServer(host.root) as running:
        yield running


async def fetch(of: Fetching, host: Host, server: GitHttpServer) -> list[GitContent | ArchonError]:
    wanted = [Wanted(path, blob) for path, blob in host.blobs.items()]
    return await of.fetcher.fetch_many(GitSource(server.url("r.git"), host.commit), wanted)


async def failure(of: Fetching, host: Host, server: GitHttpServer) -> ArchonError:
    (error,) = {id(answer): answer for answer in await fetch(of, host, server)}.values()
    assert isinstance(error, ArchonError)
    return error


async def recovers(of: Fetching, host: Host, server: GitHttpServer) -> bool:
    server.faults.clear()
    answers = await fetch(of, host, server)
    contents = [answer.content if isinstance(answer, GitContent) else answer for answer in answers]
    return contents == list(FILES.values())


@pytest.mark.parametrize("on", [DISCOVERY, UPLOAD_PACK])
async def test_a_host_that_falls_silent(tmp_path: Path, host: Host, server: GitHttpServer, on: str) -> None:
    server.faults.append(Fault("hang", on))
    async with fetching(tmp_path, limits=TransferLimits(60, 0.3, 64 * MIB)) as of:
        began = time.monotonic()
        assert isinstance(await failure(of, host, server), HostMisbehaved)
        assert time.monotonic() - began < PATIENCE_S
        assert nothing_is_left(of, tmp_path)
        assert await recovers(of, host, server)


@pytest.mark.parametrize("on", [DISCOVERY, UPLOAD_PACK])
async def test_a_host_that_drips(tmp_path: Path, host: Host, server: GitHttpServer, on: str) -> None:
    server.faults.append(Fault("drip", on, pause=0.01))
    async with fetching(tmp_path, limits=TransferLimits(0.8, 5, 64 * MIB)) as of:
        began = time.monotonic()
        assert isinstance(await failure(of, host, server), DeadlineExceeded)
        assert time.monotonic() - began < PATIENCE_S
        assert nothing_is_left(of, tmp_path)


async def test_cancelling_ends_the_exchange_and_cleans_up(
    tmp_path: Path, host: Host, server: GitHttpServer
) -> None:
    fault = Fault("hang", UPLOAD_PACK)
    server.faults.append(fault)
    async with fetching(tmp_path, limits=TransferLimits(60, 60, 64 * MIB)) as of:
        running = asyncio.ensure_future(fetch(of, host, server))
        await asyncio.to_thread(fault.reached.wait, 10)
        began = time.monotonic()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert time.monotonic() - began < PATIENCE_S
    async with fetching(tmp_path, limits=LIMITS) as of:
        assert nothing_is_left(of, tmp_path)
        assert await recovers(of, host, server)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("git_")]


async def test_more_bytes_than_allowed(tmp_path: Path, host: Host, server: GitHttpServer) -> None:
    repository = host.repository
    large = random.Random(1).randbytes(50_000)
    commit = repository.commit({"big": large, "small": b"small\n"}, branch="big")
    async with fetching(tmp_path / "cache", limits=TransferLimits(10, 5, 5000)) as of:
        wanted = [Wanted(path, repository.blob(path, commit)) for path in ("big", "small")]
        big, small = await of.fetcher.fetch_many(GitSource(server.url("r.git"), commit), wanted)
        assert isinstance(big, ContentTooLarge)
        assert isinstance(small, GitContent), "the rest comes by halves"
        assert of.cache.stats().reserved_bytes == 0


@pytest.mark.parametrize("kind", ["corrupt", "truncate"])
async def test_a_damaged_pack_is_never_taken_and_fetched_again(
    tmp_path: Path, host: Host, server: GitHttpServer, kind: str
) -> None:
    server.faults.append(Fault(kind, UPLOAD_PACK))  # type: ignore[arg-type] # one of its kinds
    async with fetching(tmp_path / "one", limits=LIMITS) as of:
        error = await failure(of, host, server)
        assert isinstance(error, CorruptPack | HostMisbehaved)
        assert nothing_is_left(of, tmp_path / "one")
    # Discovery goes to the same path: let only the pack be spoiled, once.
    server.faults[:] = []
    async with fetching(tmp_path / "two", limits=LIMITS, attempts=3) as of:
        await of.fetcher.files(GitSource(server.url("r.git"), host.commit))
        server.faults.append(Fault(kind, UPLOAD_PACK, times=1))  # type: ignore[arg-type]
        answers = await fetch(of, host, server)
        assert {answer.attempts for answer in answers if isinstance(answer, GitContent)} == {2}


async def test_a_connection_that_breaks_is_tried_again(
    tmp_path: Path, host: Host, server: GitHttpServer
) -> None:
    server.faults.append(Fault("reset", UPLOAD_PACK, times=1))
    server.faults.append(Fault("reset", DISCOVERY, times=1))
    async with fetching(tmp_path, limits=LIMITS, attempts=3) as of:
        assert all(isinstance(answer, GitContent) for answer in await fetch(of, host, server))


@pytest.mark.parametrize(
    ("status", "error", "asked"),
    [
        (401, AccessDenied, 1),
        (403, AccessDenied, 1),
        (404, RepositoryNotFound, 1),
        (410, RepositoryNotFound, 1),
        (400, PermanentError, 1),
        (429, BackendUnavailable, 3),
        (500, BackendUnavailable, 3),
        (503, BackendUnavailable, 3),
    ],
)
async def test_refusals_are_told_apart_and_only_the_passing_ones_tried_again(
    tmp_path: Path, host: Host, server: GitHttpServer, status: int, error: type[ArchonError], asked: int
) -> None:
    server.faults.append(Fault("status", DISCOVERY, status=status))
    async with fetching(tmp_path, limits=LIMITS, attempts=3) as of:
        assert type(await failure(of, host, server)) is error
        assert len(server.seen) == asked


@pytest.mark.parametrize("status", [429, 503, 403])
async def test_retry_after_is_kept_to(tmp_path: Path, host: Host, server: GitHttpServer, status: int) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    server.faults.append(Fault("status", DISCOVERY, times=1, status=status, headers={"Retry-After": "3"}))
    async with fetching(tmp_path, limits=LIMITS, attempts=2, sleep=sleep) as of:
        assert all(isinstance(answer, GitContent) for answer in await fetch(of, host, server))
    assert waits == [3.0]


async def test_a_page_in_place_of_the_protocol(tmp_path: Path, host: Host, server: GitHttpServer) -> None:
    server.answers[f"/r.git/{DISCOVERY}"] = (b"<html>Sign in</html>", "text/html")
    async with fetching(tmp_path, limits=LIMITS) as of:
        assert isinstance(await failure(of, host, server), AccessDenied)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"0000",
        b"zzzz",
        b"0003",
        b"000eversion 2\n" * 3,
        b"ffff" + b"a" * 70000,
        b"001e# service=git-upload-pack\n0000" + b"\xff\xfe" * 50,
        b"001e# service=git-upload-pack\n00000010nonsense\n!!!",
        b"0026ERR access denied, my dear friend\n0000",
    ],
)
async def test_nonsense_in_place_of_an_advertisement(
    tmp_path: Path, host: Host, server: GitHttpServer, answer: bytes
) -> None:
    server.answers[f"/r.git/{DISCOVERY}"] = (answer, "application/x-git-upload-pack-advertisement")
    async with fetching(tmp_path, limits=LIMITS) as of:
        error = await failure(of, host, server)
        assert "\n" not in str(error)
        assert nothing_is_left(of, tmp_path)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"0000",
        b"000dpackfile\n0000",
        b"000dpackfile\n0009\x02hi!\n0000",
        b"000dpackfile\n000a\x03fatal0000",
        b"000dpackfile\n0009\x07hi!\n0000",
        b"000dpackfile\n0009\x01PACK0000",
        b"001apackfile-uris 12345\n0000",
        b"0012packfile-uris\n0044" + b"https://169.254.169.254/x sha1 " + b"0" * 33 + b"000dpackfile\n0000",
    ],
)
async def test_nonsense_in_place_of_a_pack(
    tmp_path: Path, host: Host, server: GitHttpServer, answer: bytes
) -> None:
    async with fetching(tmp_path, limits=LIMITS) as of:
        await of.fetcher.files(GitSource(server.url("r.git"), host.commit))
        server.answers[f"/r.git/{UPLOAD_PACK}"] = (answer, "application/x-git-upload-pack-result")
        error = await failure(of, host, server)
        assert "\n" not in str(error)
        assert of.cache.stats().reserved_bytes == 0
        server.answers.clear()
        assert await recovers(of, host, server)


SIGN_IN = b"<html><title>Sign in</title></html>"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", on=DISCOVERY, status=203),
        Fault("redirect", on=DISCOVERY, status=302, headers={"Location": "/sign-in"}),
        Fault("status", on=UPLOAD_PACK, status=302, headers={"Location": "/sign-in"}),
        Fault("status", on=UPLOAD_PACK, status=303, headers={"Location": "/sign-in"}),
    ],
    ids=lambda fault: f"{fault.on} {fault.status}",
)
async def test_a_sign_in_page_is_a_refusal_and_no_outage(
    tmp_path: Path, host: Host, server: GitHttpServer, fault: Fault
) -> None:
    server.answers["/sign-in"] = (SIGN_IN, "text/html")
    async with fetching(tmp_path, limits=LIMITS, attempts=3) as of:
        server.faults.append(fault)
        error = await failure(of, host, server)
        assert type(error) is AccessDenied
        assert "wants a credential" in str(error)
        assert "sign-in page" in str(error)
        assert await recovers(of, host, server)


async def test_a_full_disk_is_said_and_leaves_the_cache_whole(
    tmp_path: Path, host: Host, server: GitHttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Incoming.__init__

    def on_full_disk(self: Incoming, *arguments: object) -> None:
        real(self, *arguments)  # type: ignore[arg-type]
        self._file.close()
        self._file = open("/dev/full", "w+b", buffering=0)  # noqa: SIM115 - closed with the pack

    async with fetching(tmp_path, limits=LIMITS) as of:
        monkeypatch.setattr(Incoming, "__init__", on_full_disk)
        error = await failure(of, host, server)
        assert isinstance(error, BackendUnavailable)
        assert "disk" in str(error)
        monkeypatch.undo()
        assert nothing_is_left(of, tmp_path)
        assert await recovers(of, host, server)


async def test_a_disk_that_fills_up_with_a_packs_index_is_said(
    tmp_path: Path, host: Host, server: GitHttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_full_disk(_file: object, *arguments: Any) -> None:
        with open("/dev/full", "wb", buffering=0) as full:
            write_pack_index(full, *arguments)

    async with fetching(tmp_path, limits=LIMITS) as of:
        monkeypatch.setattr(packs, "write_pack_index", on_full_disk)
        error = await failure(of, host, server)
        assert isinstance(error, BackendUnavailable)
        assert "No space left" in str(error)
        monkeypatch.undo()
        assert nothing_is_left(of, tmp_path)
        assert await recovers(of, host, server)


async def test_a_file_list_that_the_disk_refuses_is_used_from_memory(
    tmp_path: Path, host: Host, server: GitHttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_full_disk(_path: Path, data: bytes) -> None:
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(data)

    async with fetching(tmp_path, limits=LIMITS) as of:
        monkeypatch.setattr(commit_list, "write_private", on_full_disk)
        source = GitSource(server.url("r.git"), host.commit)
        answers = await of.fetcher.fetch_many(source, [Wanted(path) for path in FILES])
        found = [answer.content for answer in answers if isinstance(answer, GitContent)]
        assert found == list(FILES.values())


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """The kernel refuses every write past `size` bytes of any file of this process, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 20, 200, 1200, 2500, 4096])
@pytest.mark.parametrize("by_path", [True, False])
async def test_wherever_the_disk_is_full_it_is_an_answer_and_the_cache_recovers(
    tmp_path: Path, host: Host, server: GitHttpServer, room: int, by_path: bool
) -> None:
    source = GitSource(server.url("r.git"), host.commit)
    wanted = [Wanted(path, None if by_path else blob) for path, blob in host.blobs.items()]
    async with fetching(tmp_path, limits=LIMITS) as of:
        with files_end_at(room):
            answers = await of.fetcher.fetch_many(source, wanted)
        assert all(isinstance(answer, BackendUnavailable | GitContent) for answer in answers), answers
        assert any(isinstance(answer, BackendUnavailable) for answer in answers)
        assert await recovers(of, host, server)


async def test_a_cache_too_small_for_a_repository(tmp_path: Path, host: Host, server: GitHttpServer) -> None:
    async with fetching(tmp_path, limits=LIMITS, cap=1000) as of:
        assert isinstance(await failure(of, host, server), CloneTooLarge)
        assert len(server.seen) <= 3
        assert nothing_is_left(of, tmp_path)
