"""A directory outside Git: its `.gitignore` files, the default exclusions, and nothing special."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.repository.discover import open_repository
from core.repository.facts import Entry, SkipReason
from tests.git_repositories import listing, paths, skips

pytestmark = pytest.mark.usefixtures("isolated_git")


def _write(root: Path, *names: str, content: bytes = b"x\n") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def test_files_come_in_byte_order(tmp_path: Path) -> None:
    names = ["B", "a-b/x", "a.b", "a/x", "a/y/z", "a0", "é"]
    _write(tmp_path, *reversed(names))
    assert paths(listing(tmp_path)) == names == sorted(names, key=os.fsencode)


def test_entries_have_status_and_a_version_but_no_blob(tmp_path: Path) -> None:
    _write(tmp_path, "a")
    (entry,) = listing(tmp_path)
    status = (tmp_path / "a").stat()
    assert isinstance(entry, Entry)
    assert (entry.size, entry.mtime_ns, entry.mode, entry.blob) == (
        2,
        status.st_mtime_ns,
        status.st_mode,
        None,
    )
    assert entry.version is not None


def test_the_version_changes_with_the_file_and_not_without(tmp_path: Path) -> None:
    _write(tmp_path, "a")
    first, second = (listing(tmp_path)[0] for _ in range(2))
    os.utime(tmp_path / "a", ns=(1, 1))
    third = listing(tmp_path)[0]
    assert isinstance(first, Entry)
    assert isinstance(third, Entry)
    assert first == second
    assert third.version != first.version


def test_default_exclusions(tmp_path: Path) -> None:
    _write(
        tmp_path,
        ".git/config", ".hg/x", "sub/.svn/x", ".venv/lib/x.py", "node_modules/m/i.js", "a/__pycache__/a.pyc",
        "lib.pyc", "build/out.txt", "dist/x.whl", "target/debug/x", "app.min.js", "style.min.css",
        ".mypy_cache/x", "notes~", ".DS_Store",
    )  # fmt: skip
    kept = [".github/workflows/ci.yml", "app.js", "builder/x", "src/distance.py", "sub/.gitkeep"]
    _write(tmp_path, *kept)
    assert paths(listing(tmp_path)) == kept


def test_a_gitignore_can_bring_back_what_is_excluded_by_default(tmp_path: Path) -> None:
    _write(tmp_path, "build/out.txt", "src/dist/x")
    _write(tmp_path, ".gitignore", content=b"!/build/\n*.tmp\n")
    _write(tmp_path, "src/.gitignore", content=b"!dist/\n")
    assert paths(listing(tmp_path)) == [".gitignore", "build/out.txt", "src/.gitignore", "src/dist/x"]


def test_virtual_environments_and_caches_are_known_by_their_markers(tmp_path: Path) -> None:
    _write(tmp_path, "myenv/pyvenv.cfg", "myenv/lib/x.py", "cache/data", "notes/CACHEDIR.TAG", "a.py")
    _write(
        tmp_path, "cache/CACHEDIR.TAG", content=b"Signature: 8a477f597d28d172789f06886806bc55\n# a cache\n"
    )
    assert paths(listing(tmp_path)) == ["a.py", "notes/CACHEDIR.TAG"]
    assert "lib/x.py" in paths(listing(tmp_path / "myenv"))  # asked for by name


def test_links_and_special_files_are_skipped_and_loops_do_not_matter(tmp_path: Path) -> None:
    _write(tmp_path, "a/file")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to("a/file")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    items = listing(tmp_path)
    assert paths(items) == ["a/file"]
    assert skips(items) == {
        "a/up": SkipReason.SYMLINK,
        "dangling": SkipReason.SYMLINK,
        "fifo": SkipReason.SPECIAL_FILE,
        "link": SkipReason.SYMLINK,
    }


def test_a_linked_gitignore_is_not_read(tmp_path: Path) -> None:
    _write(tmp_path / "root", "a.py")
    _write(tmp_path, "ignore", content=b"*.py\n")
    (tmp_path / "root/.gitignore").symlink_to(tmp_path / "ignore")
    assert paths(listing(tmp_path / "root")) == ["a.py"]


def test_a_fifo_as_gitignore_does_not_hang(tmp_path: Path) -> None:
    _write(tmp_path, "a.py")
    os.mkfifo(tmp_path / ".gitignore")
    items = listing(tmp_path)
    assert paths(items) == ["a.py"]
    assert skips(items) == {".gitignore": SkipReason.SPECIAL_FILE}


def test_repositories_inside_are_entered_without_their_git_directories(tmp_path: Path) -> None:
    _write(tmp_path, "one/.git/HEAD", "one/a.py", "two/.git", "two/b.py")
    assert paths(listing(tmp_path)) == ["one/a.py", "two/b.py"]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    names = [b"caf\xe9", b"\xff\xfe", "é".encode()]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    opened = open_repository(tmp_path)
    entries = [item for item in opened.entries() if isinstance(item, Entry)]
    assert [opened.read(entry, 99) for entry in entries] == sorted(names)
    opened.close()


def test_gitattributes_count_outside_git_too(tmp_path: Path) -> None:
    _write(tmp_path, ".gitattributes", content=b"*.x linguist-language=Go linguist-vendored\n")
    _write(tmp_path, "sub/.gitattributes", content=b"*.x linguist-language=Rust -linguist-vendored\n")
    _write(tmp_path, "a.x", "sub/a.x", "sub/deep/b.x", "z.x")
    found = {
        item.path: (item.language_override, item.vendored)
        for item in listing(tmp_path)
        if isinstance(item, Entry) and item.path.endswith(".x")
    }
    go, rust = ("Go", True), ("Rust", False)
    assert found == {"a.x": go, "sub/a.x": rust, "sub/deep/b.x": rust, "z.x": go}


def test_a_directory_that_vanishes_while_it_is_walked(tmp_path: Path) -> None:
    _write(tmp_path, "a", "b/c", "d")
    opened = open_repository(tmp_path)
    items = opened.entries()
    first = next(items)
    (tmp_path / "b/c").unlink()
    (tmp_path / "b").rmdir()
    assert [item.path for item in (first, *items)] == ["a", "d"]
    opened.close()


def test_an_empty_directory_is_empty(tmp_path: Path) -> None:
    assert listing(tmp_path) == []


def test_there_is_no_git_state(tmp_path: Path) -> None:
    opened = open_repository(tmp_path)
    assert opened.git_state() is None
    assert opened.is_dirty() is None
    assert opened.name == tmp_path.name
    opened.close()
