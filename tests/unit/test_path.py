"""Paths from strangers stay inside their root, as text and as opened files."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import UnsafeInput
from core.safety import path as safety
from core.safety.path import check_relative_path, from_bytes, open_confined, relative_within, to_bytes


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a/b.py",
        ".gitignore",
        ".github/workflows/ci.yml",
        "a/...",
        "..a/b..",
        "dev-disk\\x2dby.device",
        "with space/ü/日本",
        "c:",
        "new\nline",
        "..\n",
        "bad\udcff",
        "x" * 4096,
    ],
)
def test_safe_paths_pass_unchanged(path: str) -> None:
    assert check_relative_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../x",
        "a/../b",
        "a/..",
        ".",
        "./a",
        "a/./b",
        "a//b",
        "a/",
        "nul\0",
        ".git",
        ".git/config",
        "sub/.GiT/hooks/x",
        "C:\\windows",
        "C:/windows",
        "\\\\server\\share",
        "..\\up",
        "a\\..\\..\\b",
        "a/..\\b",
        ".\\",
        "x" * 4097,
        "é" * 2049,
        "\ud800",
    ],
)
def test_unsafe_paths_are_refused(path: str) -> None:
    with pytest.raises(UnsafeInput) as caught:
        check_relative_path(path)
    assert str(caught.value).isprintable()


@given(st.text(st.sampled_from("./\\aC:\0g"), max_size=12))
@example(".\\")
@example(".\\/\\")
@example("...")
def test_whatever_passes_stays_inside_on_any_system(path: str) -> None:
    try:
        check_relative_path(path)
    except UnsafeInput:
        return
    for separators in (path, path.replace("\\", "/")):
        joined = os.path.normpath(f"/root/of/it/{separators}")
        assert joined.startswith("/root/of/it/")


@given(st.binary(max_size=64))
def test_any_bytes_make_the_round_trip(raw: bytes) -> None:
    assert to_bytes(from_bytes(raw)) == raw


def test_relative_within() -> None:
    assert relative_within("/mnt/p", "/mnt/p/a/b.py") == "a/b.py"
    assert relative_within("/mnt/p/", "/mnt/p/a") == "a"
    assert relative_within("/", "/a") == "a"
    for root, path in [
        ("/mnt/p", "/mnt/pq/a"),
        ("/mnt/p", "/mnt/p/../q"),
        ("/mnt/p", "/mnt/p"),
        ("/mnt/p", "a"),
        ("", "/etc/passwd"),
        ("mnt", "mnt/a"),
    ]:
        with pytest.raises(UnsafeInput):
            relative_within(root, path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "file").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"outside")
    return root


def _read(root: Path, path: str) -> bytes:
    with open(open_confined(root, path), "rb") as stream:
        return stream.read()


def test_open_confined_reads_a_file_also_below_a_linked_root(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert _read(root, "sub/file") == b"inside"
    assert _read(tmp_path / "link", "sub/file") == b"inside"


def test_links_are_refused_wherever_they_stand(root: Path, tmp_path: Path) -> None:
    (root / "file-link").symlink_to(tmp_path / "secret")
    (root / "directory-link").symlink_to(tmp_path)
    (root / "inner-link").symlink_to(root / "sub")
    for path in ("file-link", "directory-link/secret", "inner-link/file"):
        with pytest.raises(UnsafeInput):
            open_confined(root, path)


def test_special_files_are_refused_without_waiting(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with tempfile.TemporaryDirectory(dir="/tmp") as short, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(short + "/socket")
        for directory, name in ((root, "fifo"), (root, "sub"), (Path(short), "socket")):
            with pytest.raises(UnsafeInput):
                open_confined(directory, name)


def test_missing_files_are_plain_os_errors(root: Path) -> None:
    for path in ("gone", "gone/too"):
        with pytest.raises(FileNotFoundError):
            open_confined(root, path)
    with pytest.raises(NotADirectoryError):
        open_confined(root, "sub/file/x")


def test_no_descriptor_leaks(root: Path, tmp_path: Path) -> None:
    (root / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(root / "fifo")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("link", "fifo", "gone", "sub/gone", "sub"):
        with pytest.raises((UnsafeInput, OSError)):
            open_confined(root, path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_directory_swapped_for_a_link_midway_does_not_lead_out(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(b"outside")
    checked = safety.check_relative_path

    def swap_after_check(path: str) -> str:
        (root / "sub").rename(root / "moved")
        (root / "sub").symlink_to(tmp_path / "elsewhere")
        return checked(path)

    monkeypatch.setattr(safety, "check_relative_path", swap_after_check)
    with pytest.raises(UnsafeInput):
        open_confined(root, "sub/file")
