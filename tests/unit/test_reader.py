"""Reading gives exactly the bytes that were listed, or says why not."""

from __future__ import annotations

import io
import os
import resource
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from core.repository.facts import Entry, ReadInterrupted, Skip, SkipReason
from core.repository.reader import FileReader, _ListedFile
from core.safety.path import open_regular

OPEN_REGULAR = "core.repository.reader.open_regular"
CONTENT = bytes(range(256)) * 40


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/sub").mkdir(parents=True)
    (tmp_path / "root/sub/file").write_bytes(CONTENT)
    return tmp_path / "root"


@pytest.fixture
def reader(root: Path) -> Iterator[FileReader]:
    reader = FileReader(root)
    yield reader
    reader.close()


def _entry(root: Path, path: str = "sub/file") -> Entry:
    status = (root / path).stat()
    return Entry(path, status.st_size, status.st_mtime_ns, status.st_mode)


def _reason(result: object) -> SkipReason:
    assert isinstance(result, Skip)
    return result.reason


@pytest.mark.parametrize("limit", [0, 1, len(CONTENT) - 1, len(CONTENT), len(CONTENT) + 1, 1 << 30])
def test_a_file_is_read_up_to_the_limit(root: Path, reader: FileReader, limit: int) -> None:
    assert reader.read(_entry(root), limit) == CONTENT[:limit]


def test_an_empty_file_is_a_file(root: Path, reader: FileReader) -> None:
    (root / "empty").touch()
    assert reader.read(_entry(root, "empty"), 100) == b""
    stream = reader.open(_entry(root, "empty"))
    assert not isinstance(stream, Skip)
    with stream:
        assert stream.read() == b""


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _pieces(stream: BinaryIO, size: int) -> list[bytes]:
    return list(iter(lambda: stream.read(size), b""))


def _swap_for_link(root: Path) -> None:
    (root / "sub/file").unlink()
    (root / "sub/file").symlink_to("/etc/hostname")


def _swap_for_fifo(root: Path) -> None:
    (root / "sub/file").unlink()
    os.mkfifo(root / "sub/file")


def _swap_directory_for_link(root: Path) -> None:
    (root / "sub").rename(root.parent / "moved")
    (root / "sub").symlink_to(root.parent / "moved")


def _grow(root: Path) -> None:
    with (root / "sub/file").open("ab") as stream:
        stream.write(b"more")


def _rewrite(root: Path) -> None:
    os.utime(root / "sub/file", ns=(1, 1))
    (root / "sub/file").write_bytes(CONTENT[::-1])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda root: (root / "sub/file").unlink(), SkipReason.VANISHED),
        (lambda root: (root / "sub").rename(root / "other"), SkipReason.VANISHED),
        (lambda root: os.truncate(root / "sub/file", 10), SkipReason.CHANGED_WHILE_READ),
        (_grow, SkipReason.CHANGED_WHILE_READ),
        (_rewrite, SkipReason.CHANGED_WHILE_READ),
        (_swap_for_link, SkipReason.CHANGED_WHILE_READ),
        (_swap_for_fifo, SkipReason.CHANGED_WHILE_READ),
        (_swap_directory_for_link, SkipReason.CHANGED_WHILE_READ),
    ],
)
def test_a_change_between_listing_and_reading_is_a_skip(
    root: Path, reader: FileReader, change: Callable[[Path], object], reason: SkipReason
) -> None:
    entry = _entry(root)
    change(root)
    for result in (reader.read(entry, 1 << 20), reader.open(entry)):
        assert _reason(result) is reason
        assert reason.is_fault


@pytest.mark.parametrize("change", [_grow, _rewrite, lambda root: os.truncate(root / "sub/file", 10)])
def test_a_change_while_reading_is_a_skip(
    root: Path, reader: FileReader, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    entry = _entry(root)

    def change_once_open(name: bytes, parent: int) -> tuple[int, os.stat_result]:
        result = open_regular(name, parent)
        change(root)
        return result

    monkeypatch.setattr(OPEN_REGULAR, change_once_open)
    assert _reason(reader.read(entry, 1 << 20)) is SkipReason.CHANGED_WHILE_READ


def test_a_file_that_cannot_be_read_is_a_skip(
    root: Path, reader: FileReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = _entry(root)

    def denied(name: bytes, parent: int) -> tuple[int, os.stat_result]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(OPEN_REGULAR, denied)
    assert reader.read(entry, 10) == Skip("sub/file", SkipReason.UNREADABLE, "Permission denied")


@pytest.mark.parametrize("change", [_grow, _rewrite, lambda root: os.truncate(root / "sub/file", 10)])
def test_a_stream_never_ends_well_after_a_change(
    root: Path, reader: FileReader, change: Callable[[Path], object]
) -> None:
    stream = reader.open(_entry(root))
    assert not isinstance(stream, Skip)
    with stream:
        assert stream.read(10) == CONTENT[:10]
        change(root)
        with pytest.raises(ReadInterrupted) as caught:
            _pieces(stream, 1000)
    assert caught.value.skip == Skip("sub/file", SkipReason.CHANGED_WHILE_READ)


def test_a_stream_gives_the_whole_file_in_pieces_and_at_once(root: Path, reader: FileReader) -> None:
    for size in (1000, -1):
        stream = reader.open(_entry(root))
        assert not isinstance(stream, Skip)
        with stream:
            assert b"".join(_pieces(stream, size)) == CONTENT


def test_reading_from_many_threads(root: Path, reader: FileReader) -> None:
    entries = []
    for number in range(60):
        directory = root / f"d{number % 7}" / "deep"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f{number}").write_bytes(b"%d" % number * 500)
        entries.append(_entry(root, f"d{number % 7}/deep/f{number}"))
    start = threading.Barrier(8)

    def read_all(_: int) -> list[bytes | Skip]:
        start.wait()
        return [reader.read(entry, 1 << 20) for entry in entries]

    with ThreadPoolExecutor(8) as pool:
        for contents in pool.map(read_all, range(8)):
            assert contents == [b"%d" % number * 500 for number in range(60)]


def test_descriptors_are_given_back(root: Path) -> None:
    before = _descriptors()
    reader = FileReader(root)
    entry = _entry(root)
    reader.read(entry, 10)
    stream = reader.open(entry)
    assert not isinstance(stream, Skip)
    stream.close()
    (root / "sub/file").unlink()
    reader.read(entry, 10)
    reader.close()
    reader.close()
    assert _descriptors() == before


def test_deep_trees_do_not_use_up_descriptors(tmp_path: Path) -> None:
    path = "/".join(["d"] * 300) + "/file"
    parent = os.open(tmp_path, os.O_RDONLY)
    for name in path.split("/")[:-1]:
        os.mkdir(name, dir_fd=parent)
        child = os.open(name, os.O_RDONLY, dir_fd=parent)
        os.close(parent)
        parent = child
    descriptor = os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=parent)
    os.write(descriptor, b"deep")
    status = os.fstat(descriptor)
    os.close(descriptor)
    os.close(parent)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reader = FileReader(tmp_path)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_descriptors() + 10, hard))
    try:
        assert reader.read(Entry(path, 4, status.st_mtime_ns, status.st_mode), 10) == b"deep"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        reader.close()


def test_a_stream_that_the_disk_cuts_off_says_so(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)  # read(2) of it fails, as of a bad sector
    entry = Entry("a.py", 3, 10, 0o100644)
    with io.BufferedReader(_ListedFile(directory, entry)) as stream, pytest.raises(ReadInterrupted) as caught:
        stream.read()
    assert caught.value.skip.reason is SkipReason.UNREADABLE
