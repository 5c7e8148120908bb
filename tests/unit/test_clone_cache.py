"""The clone cache keeps within its cap, never takes what is in use, and survives crashes and neighbours."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from zlib import compress

import pytest

from core.errors import BackendUnavailable
from core.git.clone_cache import CloneCache, Growth
from core.git.errors import CloneTooLarge
from core.git.pack_index import BLOB
from core.safety.git_url import GitUrl
from tests.unit.test_git_packs import blob_id, forged, header

MIB = 1 << 20
CAP = 4 * MIB


def url(name: str) -> GitUrl:
    return GitUrl("https", "git.example.com", 443, f"/{name}")


def content(seed: int, size: int = MIB - 10_000) -> bytes:
    return random.Random(seed).randbytes(size)


def opened(directory: Path, cap: int = CAP, *, scan: bool = True) -> CloneCache:
    cache = CloneCache(directory, cap, max_object_bytes=64 * MIB)
    cache.open(scan=scan)
    return cache


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CloneCache]:
    made = opened(tmp_path / "cache")
    yield made
    made.close()


def put(cache: CloneCache, name: str, *contents: bytes, scope: str = "") -> None:
    """Bring blobs into a clone the way a fetch does."""
    pack = forged(*(header(BLOB, len(each)) + compress(each, 0) for each in contents))
    with cache.use(url(name), scope, "sha1") as clone, clone.packs.receive() as incoming:
        growth = clone.growth(incoming.path.name)
        incoming.grow = growth.grow
        stored = False
        try:
            for start in range(0, len(pack), 100_000):
                incoming.write(pack[start : start + 100_000])
            clone.packs.publish(incoming, lambda: None)
            stored = True
        finally:
            growth.settle(stored=stored)


def has(cache: CloneCache, name: str, each: bytes, scope: str = "") -> bool:
    with cache.use(url(name), scope, "sha1") as clone:
        return not clone.packs.missing([blob_id(each)])


def disk_bytes(cache: CloneCache) -> int:
    return sum(path.stat().st_size for path in (cache.directory / "clones").rglob("*") if path.is_file())


def test_the_least_recently_used_clone_goes_first(cache: CloneCache) -> None:
    for number in range(4):
        put(cache, f"r{number}", content(number))
    assert has(cache, "r0", content(0))
    put(cache, "r4", content(4))
    assert has(cache, "r0", content(0))
    assert not has(cache, "r1", content(1))
    assert has(cache, "r4", content(4))
    assert cache.stats().evictions == 1


def test_deleting_an_evicted_clone_keeps_no_other_process_waiting(
    cache: CloneCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted = []
    really = shutil.rmtree

    def rmtree(path: str, *, ignore_errors: bool) -> None:
        other = sqlite3.connect(cache.directory / "index.db", timeout=0)
        other.execute("BEGIN IMMEDIATE")  # fails while anybody else writes
        other.close()
        deleted.append(path)
        really(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    for number in range(5):
        put(cache, f"r{number}", content(number))
    assert len(deleted) == 1
    cache.clear()
    assert len(deleted) == 5
    assert list((cache.directory / "trash").iterdir()) == []


@pytest.mark.timeout(20)
def test_a_directory_that_is_removed_is_made_again(cache: CloneCache) -> None:
    put(cache, "a", content(1))
    shutil.rmtree(cache.directory)
    assert not has(cache, "a", content(1))
    put(cache, "a", content(2))
    assert has(cache, "a", content(2))
    stats = cache.stats()
    assert stats.entries == 1
    assert stats.bytes == sum(path.stat().st_size for path in cache.directory.glob("clones/*/packs/*"))


def test_the_cap_holds_with_reservations(cache: CloneCache) -> None:
    for number in range(12):
        put(cache, f"r{number}", content(number))
        assert disk_bytes(cache) <= CAP
        stats = cache.stats()
        assert stats.bytes + stats.reserved_bytes <= CAP
        assert stats.reserved_bytes == 0
    with cache.use(url("half"), "", "sha1") as clone:
        growth = clone.growth("incoming-x")
        (clone.packs.directory / "incoming-x").touch()
        growth.grow(2 * MIB)
        assert cache.stats().reserved_bytes == 2 * MIB
        assert cache.stats().bytes + 2 * MIB <= CAP
        growth.settle(stored=False)
    assert cache.stats().reserved_bytes == 0


def test_growth_reserves_in_larger_and_larger_steps(cache: CloneCache) -> None:
    growth = Growth(cache, "a" * 40, "incoming-x")
    for _ in range(30):
        growth.grow(100_000)
    assert cache.index.usage().reservations <= 3
    growth.settle(stored=False)


def test_a_clone_in_use_is_not_evicted(cache: CloneCache) -> None:
    put(cache, "busy", content(1))
    with cache.use(url("busy"), "", "sha1") as clone:
        for number in range(6):
            put(cache, f"r{number}", content(number))
        assert clone.packs.read(blob_id(content(1))) == (BLOB, content(1))
    for number in range(6):
        put(cache, f"r{number}", content(number))
    assert not has(cache, "busy", content(1))


def test_a_cache_full_of_clones_in_use_says_so(cache: CloneCache) -> None:
    put(cache, "one", content(1), content(2))
    put(cache, "two", content(3))
    with cache.use(url("one"), "", "sha1"), cache.use(url("two"), "", "sha1"):
        with pytest.raises(BackendUnavailable, match="in use"):
            put(cache, "three", content(4), content(5))
        assert cache.stats().reserved_bytes == 0
    put(cache, "three", content(4), content(5))


def test_more_than_the_whole_cache_is_too_large(cache: CloneCache) -> None:
    put(cache, "old", content(9))
    with pytest.raises((CloneTooLarge, BackendUnavailable)):
        put(cache, "huge", *(content(number) for number in range(5)))
    assert cache.stats().reserved_bytes == 0
    assert disk_bytes(cache) <= CAP
    assert not list((cache.directory / "clones").rglob("incoming-*"))


def test_credential_scopes_do_not_share_objects(cache: CloneCache) -> None:
    put(cache, "private", content(1), scope="env:TEAM_A")
    assert has(cache, "private", content(1), scope="env:TEAM_A")
    assert not has(cache, "private", content(1), scope="env:TEAM_B")
    assert not has(cache, "private", content(1))


def test_what_is_there_is_found_again(tmp_path: Path) -> None:
    first = opened(tmp_path)
    put(first, "kept", content(1))
    before = first.stats()
    first.close()
    again = opened(tmp_path)
    assert has(again, "kept", content(1))
    assert again.stats().bytes == before.bytes
    assert [clone.name for clone in again.entries(9)] == ["https://git.example.com/kept"]
    again.close()


def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    first = opened(tmp_path)
    put(first, "kept", content(1))
    first.close()
    (tmp_path / "index.db").write_bytes(b"not a database at all, but long enough to be read as one" * 99)
    again = opened(tmp_path)
    assert has(again, "kept", content(1))
    assert again.stats().entries == 1
    again.close()


def test_a_lowered_cap_is_kept_from_the_start(tmp_path: Path) -> None:
    first = opened(tmp_path)
    for number in range(3):
        put(first, f"r{number}", content(number))
    first.close()
    again = opened(tmp_path, 2 * MIB)
    assert disk_bytes(again) <= 2 * MIB
    assert has(again, "r2", content(2))
    again.close()


def test_clear_spares_what_is_in_use(cache: CloneCache) -> None:
    put(cache, "idle", content(1))
    put(cache, "busy", content(2))
    with cache.use(url("busy"), "", "sha1") as clone:
        removed, freed = cache.clear()
        assert removed == 1
        assert freed > len(content(1))
        assert clone.packs.read(blob_id(content(2)))
    assert cache.clear()[0] == 1
    assert cache.stats().bytes == 0


def test_verify_drops_damaged_packs(cache: CloneCache) -> None:
    put(cache, "sound", content(1))
    put(cache, "damaged", content(2))
    for path in (cache.directory / "clones").rglob("*.pack"):
        raw = bytearray(path.read_bytes())
        if content(2)[:100] in raw:
            raw[-50] ^= 1
            path.chmod(0o600)
            path.write_bytes(raw)
    found = cache.verify()
    assert (found.entries, found.corrupt) == (2, 1)
    assert has(cache, "sound", content(1))
    assert not has(cache, "damaged", content(2))
    assert cache.stats().corruptions == 1
    assert cache.verify().corrupt == 0


def test_directories_are_the_owners_only(cache: CloneCache) -> None:
    put(cache, "private", content(1, 1000))
    for path in (cache.directory, *cache.directory.rglob("*")):
        assert not path.is_dir() or path.stat().st_mode & 0o077 == 0, path


def test_an_evicted_clone_is_let_go_of(cache: CloneCache) -> None:
    """Mapped files that were removed would still take space."""
    put(cache, "old", content(1))
    assert has(cache, "old", content(1))
    other = opened(cache.directory, scan=False)
    other.clear()
    other.close()
    assert not has(cache, "other", content(1))
    held = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert not [path for path in held if "deleted" in path and str(cache.directory) in path]


def _work(pipe: Connection, directory: str) -> None:
    cache = opened(Path(directory), scan=False)
    pipe.send("ready")
    while True:
        match pipe.recv():
            case ("put", name, seed):
                put(cache, name, content(seed))
                pipe.send("done")
            case ("hold", name):
                with cache.use(url(name), "", "sha1") as clone, clone.packs.receive() as incoming:
                    growth = clone.growth(incoming.path.name)
                    incoming.grow = growth.grow
                    incoming.write(b"x" * 1000)
                    pipe.send("holding")
                    pipe.recv()


@pytest.fixture
def neighbour(cache: CloneCache) -> Iterator[tuple[Connection, int]]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, str(cache.directory)))
    process.start()
    assert here.recv() == "ready"
    assert process.pid
    yield here, process.pid
    process.kill()
    process.join()


def test_processes_share_objects_and_the_cap(cache: CloneCache, neighbour: tuple[Connection, int]) -> None:
    pipe, _ = neighbour
    put(cache, "shared", content(1))
    pipe.send(("put", "shared", 2))
    assert pipe.recv() == "done"
    assert has(cache, "shared", content(1))
    assert has(cache, "shared", content(2))
    for number in range(3, 8):
        pipe.send(("put", f"r{number}", number))
        assert pipe.recv() == "done"
        assert disk_bytes(cache) <= CAP
    assert not has(cache, "shared", content(1))


def test_what_another_process_uses_stays_until_it_is_killed(
    cache: CloneCache, neighbour: tuple[Connection, int]
) -> None:
    pipe, process = neighbour
    put(cache, "busy", content(1))
    pipe.send(("hold", "busy"))
    assert pipe.recv() == "holding"
    for number in range(4):
        put(cache, f"r{number}", content(number))
    assert has(cache, "busy", content(1))
    assert cache.stats().reserved_bytes == MIB
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    for number in range(4, 8):
        put(cache, f"r{number}", content(number))
    assert cache.stats().reserved_bytes == 0
    assert not has(cache, "busy", content(1))
    assert not list((cache.directory / "clones").rglob("incoming-*"))
