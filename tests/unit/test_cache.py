"""The disk cache: what is kept, what goes first, and that no wrong byte ever comes out."""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.cache.counted import CountedCache
from core.cache.disk import Cached, DiskCache, Miss
from core.cache.index import CacheIndex, NoRoom
from core.errors import BackendUnavailable, ChecksumMismatch, ContentTooLarge

HOLD, HEAD = 4096, 16


class Clock:
    """Nanoseconds that pass only when asked."""

    def __init__(self) -> None:
        self.now = 1_000

    def __call__(self) -> int:
        self.now += 1_000
        return self.now


def key_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(cache: DiskCache | CountedCache, content: bytes) -> str:
    writer = cache.reserve(key_of(content), len(content))
    writer.write(content)
    writer.commit()
    return writer.key


def get(cache: DiskCache | CountedCache, key: str) -> bytes | Miss:
    found = cache.get(key, hold=HOLD, head=HEAD)
    return found.content if isinstance(found, Cached) else found


def on_disk(directory: Path) -> int:
    files = [*directory.glob("objects/*/*"), *directory.glob("partial/*")]
    return sum(path.stat().st_size for path in files)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(directory: Path) -> Iterator[DiskCache]:
    opened = DiskCache(directory, 100, clock_ns=Clock())
    opened.open()
    yield opened
    opened.close()


def test_what_was_put_comes_back(cache: DiskCache) -> None:
    for content in (b"", b"x", b"hello\x00\xff"):
        assert get(cache, put(cache, content)) == content


def test_what_was_not_put_is_absent(cache: DiskCache) -> None:
    assert get(cache, key_of(b"nothing")) is Miss.ABSENT


def test_nothing_is_visible_before_commit(cache: DiskCache) -> None:
    writer = cache.reserve(key_of(b"half"), 4)
    writer.write(b"ha")
    assert get(cache, writer.key) is Miss.ABSENT
    writer.write(b"lf")
    assert get(cache, writer.key) is Miss.ABSENT
    writer.commit()
    assert get(cache, writer.key) == b"half"


def test_files_are_private(cache: DiskCache, directory: Path) -> None:
    put(cache, b"secret source")
    assert {path.stat().st_mode & 0o077 for path in [directory, *directory.rglob("*")]} == {0}


def test_wrong_bytes_are_refused(cache: DiskCache, directory: Path) -> None:
    for wrong in (b"other", b"", b"expectee"):
        writer = cache.reserve(key_of(b"expected"), 8)
        writer.write(wrong)
        with pytest.raises(ChecksumMismatch):
            writer.commit()
    assert get(cache, key_of(b"expected")) is Miss.ABSENT
    assert on_disk(directory) == 0
    assert cache.usage().reserved_bytes == 0


def test_more_bytes_than_reserved_are_refused(cache: DiskCache) -> None:
    writer = cache.reserve(key_of(b"four"), 4)
    writer.write(b"four")
    with pytest.raises(ContentTooLarge):
        writer.write(b"!")
    writer.abort()
    writer.abort()
    assert cache.usage().reservations == 0


def test_least_recently_used_goes_first(cache: DiskCache) -> None:
    first, second, third = (put(cache, bytes([letter]) * 30) for letter in b"abc")
    assert get(cache, first) == b"a" * 30
    put(cache, b"d" * 30)
    assert get(cache, second) is Miss.ABSENT
    assert get(cache, first) == b"a" * 30
    assert get(cache, third) == b"c" * 30


def test_entries_are_listed_by_size_and_by_age(cache: DiskCache) -> None:
    small, large, middle = (put(cache, b"x" * size) for size in (1, 9, 5))
    counted = CountedCache(cache)
    before = {entry.name: entry.used_ns for entry in counted.entries(10)}
    get(cache, small)
    assert [(entry.name, entry.bytes) for entry in counted.entries(2)] == [(large, 9), (middle, 5)]
    assert [entry.name for entry in counted.entries(10, "age")] == [large, middle, small]
    assert [entry.name for entry in counted.entries(1, "age")] == [large]
    get(cache, large)
    assert [entry.name for entry in counted.entries(2, "age")] == [middle, small]
    assert counted.entries(1)[0].used_ns > before[large]
    counted.verify()
    assert [entry.name for entry in counted.entries(3, "age")] == [middle, small, large]


def test_no_more_is_evicted_than_needed(cache: DiskCache) -> None:
    keys = [put(cache, bytes([letter]) * 25) for letter in b"abcd"]
    writer = cache.reserve(key_of(b"e" * 30), 30)
    assert writer.evicted == 2
    writer.abort()
    assert [get(cache, key) is Miss.ABSENT for key in keys] == [True, True, False, False]


def test_reservations_count_towards_the_cap(cache: DiskCache) -> None:
    kept = put(cache, b"k" * 40)
    writer = cache.reserve(key_of(b"w" * 60), 60)
    assert get(cache, kept) == b"k" * 40
    with pytest.raises(NoRoom) as refused:
        cache.reserve(key_of(b"v" * 50), 50)
    assert refused.value.cause == "in_use"
    assert get(cache, kept) == b"k" * 40  # evicting it would not have been enough
    writer.abort()
    cache.reserve(key_of(b"v" * 50), 50).abort()


def test_what_is_larger_than_the_cache_is_refused_and_evicts_nothing(cache: DiskCache) -> None:
    kept = put(cache, b"kept")
    with pytest.raises(NoRoom) as refused:
        cache.reserve(key_of(b"x" * 101), 101)
    assert refused.value.cause == "too_large"
    assert get(cache, kept) == b"kept"


@pytest.mark.parametrize("damage", [b"y" * 30, b"", b"x" * 29, b"x" * 31])
def test_a_corrupt_entry_is_evicted_and_can_be_put_again(
    cache: DiskCache, directory: Path, damage: bytes
) -> None:
    key = put(cache, b"x" * 30)
    (directory / "objects" / key[:2] / key).write_bytes(damage)
    assert get(cache, key) is Miss.CORRUPT
    assert get(cache, key) is Miss.ABSENT
    assert cache.usage().entries == 0
    assert get(cache, put(cache, b"x" * 30)) == b"x" * 30


def test_a_missing_file_is_told_from_one_never_put(cache: DiskCache, directory: Path) -> None:
    key = put(cache, b"x" * 30)
    (directory / "objects" / key[:2] / key).unlink()
    assert get(cache, key) is Miss.MISSING
    assert get(cache, key) is Miss.ABSENT
    assert cache.usage().entry_bytes == 0


def test_a_link_in_place_of_an_entry_is_not_followed(
    cache: DiskCache, directory: Path, tmp_path: Path
) -> None:
    key = put(cache, b"x" * 30)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"x" * 30)
    place = directory / "objects" / key[:2] / key
    place.unlink()
    place.symlink_to(elsewhere)
    assert get(cache, key) is Miss.UNREADABLE


def test_a_large_entry_is_handed_out_by_path_and_not_evicted_meanwhile(directory: Path) -> None:
    cache = DiskCache(directory, 10_000, clock_ns=Clock())
    cache.open()
    content = os.urandom(HOLD + 1)
    key = put(cache, content)
    found = cache.get(key, hold=HOLD, head=HEAD)
    assert isinstance(found, Cached)
    assert found.content == content[:HEAD]
    assert found.entry
    assert found.entry.path.read_bytes() == content
    with pytest.raises(NoRoom):
        cache.reserve(key_of(b""), 10_000)
    assert cache.clear() == (0, 0)
    assert found.entry.path.read_bytes() == content
    del found
    gc.collect()
    cache.reserve(key_of(b""), 10_000).abort()
    assert get(cache, key) is Miss.ABSENT
    cache.close()


def test_commit_hands_out_the_entry_in_use(cache: DiskCache) -> None:
    writer = cache.reserve(key_of(b"a" * 60), 60)
    writer.write(b"a" * 60)
    entry = writer.commit()
    with pytest.raises(NoRoom):
        cache.reserve(key_of(b"b" * 60), 60)
    assert entry.path.read_bytes() == b"a" * 60
    del entry
    cache.reserve(key_of(b"b" * 60), 60).abort()


def test_reopening_keeps_entries_and_their_order(directory: Path) -> None:
    clock = Clock()
    cache = DiskCache(directory, 100, clock_ns=clock)
    cache.open()
    first, second = put(cache, b"a" * 40), put(cache, b"b" * 40)
    get(cache, first)
    cache.close()
    shutil.rmtree(directory / "partial")
    for path in directory.glob("index.db*"):
        path.unlink()
    cache.open()
    assert cache.usage().entry_bytes == 80
    put(cache, b"c" * 40)
    assert get(cache, second) is Miss.ABSENT
    assert get(cache, first) == b"a" * 40
    cache.close()


def test_a_lowered_cap_is_kept_to_on_opening(cache: DiskCache, directory: Path) -> None:
    old, new = put(cache, b"a" * 40), put(cache, b"b" * 40)
    cache.close()
    smaller = DiskCache(directory, 50)
    assert smaller.open() == 1
    assert get(smaller, old) is Miss.ABSENT
    assert get(smaller, new) == b"b" * 40
    smaller.close()


def test_the_start_up_scan_sweeps_what_a_crash_left_and_nothing_that_is_at_work(
    cache: DiskCache, directory: Path
) -> None:
    (directory / "partial" / "left-by-a-crash").write_bytes(b"x" * 50)
    (directory / "objects" / "ab").mkdir()
    (directory / "objects" / "ab" / "stranger").write_bytes(b"x")
    writer = cache.reserve(key_of(b"live"), 4)
    other = DiskCache(directory, 100)
    other.open()
    assert [path.name for path in directory.glob("partial/*")] != ["left-by-a-crash"]
    assert not (directory / "partial" / "left-by-a-crash").exists()
    assert other.usage().reserved_bytes == 4
    writer.write(b"live")
    writer.commit()
    assert get(other, writer.key) == b"live"
    other.close()


def test_a_damaged_index_is_made_anew(directory: Path) -> None:
    cache = DiskCache(directory, 100)
    cache.open()
    key = put(cache, b"kept")
    cache.close()
    (directory / "index.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    cache.open()
    assert get(cache, key) == b"kept"
    assert cache.usage().entry_bytes == 4
    cache.close()


def test_two_openers_see_each_others_entries_and_share_one_cap(cache: DiskCache, directory: Path) -> None:
    other = DiskCache(directory, 100)
    other.open()
    mine = put(cache, b"a" * 60)
    assert get(other, mine) == b"a" * 60
    theirs = put(other, b"b" * 60)
    assert get(cache, mine) is Miss.ABSENT
    assert get(cache, theirs) == b"b" * 60
    assert on_disk(directory) == 60
    other.close()


def test_many_threads_never_exceed_the_cap(directory: Path) -> None:
    cache = DiskCache(directory, 1000)
    cache.open()
    contents = [bytes([number]) * (number + 1) for number in range(200)]

    def churn(number: int) -> int:
        content = contents[(number * 37) % len(contents)]
        try:
            put(cache, content)
        except NoRoom:
            return 0
        found = get(cache, key_of(content))
        assert found == content or isinstance(found, Miss)
        usage = cache.usage()
        return usage.entry_bytes + usage.reserved_bytes

    with ThreadPoolExecutor(8) as threads:
        sizes = list(threads.map(churn, range(400)))
    assert 0 < max(sizes) <= 1000
    assert on_disk(directory) == cache.usage().entry_bytes <= 1000
    assert cache.usage().reservations == 0
    cache.close()


def test_a_directory_that_is_removed_is_made_again_and_the_figures_are_true(directory: Path) -> None:
    counted = CountedCache(DiskCache(directory, 1000))
    counted.open()
    try:
        put(counted, b"before")
        shutil.rmtree(directory)
        assert counted.get(key_of(b"before"), hold=100, head=10) is Miss.ABSENT
        key = put(counted, b"after")
        found = counted.get(key, hold=100, head=10)
        assert isinstance(found, Cached)
        assert found.content == b"after"
        stats = counted.stats()
        assert (stats.entries, stats.bytes) == (1, 5)
        assert counted.trouble is None
    finally:
        counted.close()


def test_clear_and_verify(cache: DiskCache, directory: Path) -> None:
    good, bad = put(cache, b"good"), put(cache, b"bad!")
    (directory / "objects" / bad[:2] / bad).write_bytes(b"evil")
    checkup = cache.verify()
    assert (checkup.entries, checkup.bytes, checkup.corrupt) == (2, 8, 1)
    assert get(cache, bad) is Miss.ABSENT
    assert cache.clear() == (1, 4)
    assert get(cache, good) is Miss.ABSENT


def test_an_entry_that_is_evicted_while_verify_reads_is_not_corrupt(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content in (b"one", b"two", b"three"):
        put(cache, content)
    seen: list[int] = []

    def evict_all(read: int, _total: int | None) -> None:
        seen.append(read)
        if read == 1:
            cache.clear()

    assert cache.verify(evict_all).corrupt == 0
    assert seen == [0, 1, 2]


def test_verify_does_not_count_as_use(cache: DiskCache) -> None:
    first, second = put(cache, b"a" * 40), put(cache, b"b" * 40)
    get(cache, first)
    cache.verify()
    put(cache, b"c" * 40)
    assert get(cache, second) is Miss.ABSENT


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "fsync"])
def test_a_full_disk_is_no_room(
    cache: DiskCache, directory: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def try_to_put() -> None:
        writer = cache.reserve(key_of(b"content"), 7)
        try:
            writer.write(b"content")
            writer.commit()
        finally:
            writer.abort()

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(NoRoom) as refused:
            try_to_put()
    assert refused.value.cause == "disk_full"
    assert cache.usage().reservations == 0
    assert on_disk(directory) == 0
    assert get(cache, put(cache, b"content")) == b"content"


def test_a_directory_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendUnavailable, match="cannot be made"):
        DiskCache(tmp_path / "file" / "cache", 100).open()


def test_a_closed_cache_says_so(directory: Path) -> None:
    cache = DiskCache(directory, 100)
    with pytest.raises(BackendUnavailable, match="is closed"):
        cache.usage()
    cache.open()
    cache.close()
    cache.close()
    with pytest.raises(NoRoom) as refused:
        cache.reserve(key_of(b""), 0)
    assert refused.value.cause == "index_unavailable"


def test_counters_outlive_the_process_that_counted(directory: Path) -> None:
    def opened() -> CountedCache:
        cache = CountedCache(DiskCache(directory, 100))
        cache.open()
        return cache

    cache = opened()
    assert cache.stats().hit_rate is None
    kept = put(cache, b"a" * 60)
    cache.stored(60)
    get(cache, kept)
    get(cache, key_of(b"absent"))
    put(cache, b"b" * 60)
    with pytest.raises(NoRoom) as refused:
        cache.reserve(key_of(b"c" * 101), 101)
    cache.refused(refused.value)
    assert cache.trouble is None
    cache.refused(NoRoom("the disk is full", "disk_full"))
    assert cache.trouble == "the disk is full"
    cache.stored(60)
    assert cache.trouble is None
    cache.close()

    stats = opened().stats()
    assert (stats.hits, stats.misses, stats.hit_rate) == (1, {"absent": 1}, 0.5)
    assert (stats.evictions, stats.corruptions) == (1, 0)
    assert stats.uncached == {"too_large": 1, "disk_full": 1}
    assert (stats.hit_bytes, stats.stored_bytes, stats.entries, stats.bytes) == (60, 120, 1, 60)
    assert stats.to_json()["hit_rate"] == 0.5


def test_counters_survive_a_flush_that_fails(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = CountedCache(DiskCache(directory, 1000))
    cache.open()
    key = put(cache, b"a" * 10)

    def locked(_index: CacheIndex, _deltas: Mapping[str, int]) -> None:
        raise BackendUnavailable("locked by another process")

    with monkeypatch.context() as patch:
        patch.setattr(CacheIndex, "count", locked)
        for _ in range(300):
            get(cache, key)
    assert cache.stats().hits == 300
    cache.close()


def test_entries_dated_by_a_clock_that_was_ahead_can_be_evicted(directory: Path) -> None:
    now = [1_000_000]
    cache = DiskCache(directory, 300, clock_ns=lambda: now[0])
    cache.open()
    writer = cache.reserve(key_of(b"a" * 100), 100)
    writer.write(b"a" * 100)
    in_use = writer.commit()
    now[0] += 3_600_000_000_000
    put(cache, b"b" * 100)
    put(cache, b"c" * 100)
    now[0] -= 3_600_000_000_000
    put(cache, b"d" * 100)
    assert in_use.path.exists()
    assert cache.usage().entries == 3
    cache.close()


def test_corruptions_are_counted_at_lookup_and_at_verify(directory: Path) -> None:
    cache = CountedCache(DiskCache(directory, 100))
    cache.open()
    for lookup in (lambda key: get(cache, key), lambda _: cache.verify()):
        key = put(cache, b"good")
        (directory / "objects" / key[:2] / key).write_bytes(b"evil")
        lookup(key)
    stats = cache.stats()
    assert stats.corruptions == 2
    assert stats.misses == {"corrupt": 1}
    cache.close()
