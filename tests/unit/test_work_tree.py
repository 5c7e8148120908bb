"""Listing a work tree: Git's index says what is tracked, file status what is proven."""

from __future__ import annotations

import os
import tracemalloc
from io import BytesIO
from pathlib import Path

import pytest
from dulwich.index import IndexChecksumWriter, SerializedIndexEntry, write_index
from dulwich.objects import ObjectID

from core.errors import PermanentError
from core.repository.discover import open_repository
from core.repository.facts import Entry, Skip, SkipReason
from tests.git_repositories import WorkingRepository, entry_of, listing, paths, skips

INDEX_SIZE_AT_ENTRY = 12 + 4 * 9


def _entry(path: Path, name: str) -> Entry:
    repository = open_repository(path)
    try:
        return entry_of(repository, name)
    finally:
        repository.close()


def _blob(path: Path, name: str) -> str | None:
    return _entry(path, name).blob


def test_files_come_in_byte_order_with_their_status(repository: WorkingRepository) -> None:
    for name in ("b/x", "b-x", "b.x", "a", "é", "B", "b/y/z"):
        repository.write(name, name.encode())
    (repository.path / "a").chmod(0o755)
    repository.add()
    items = listing(repository.path)
    names = ["B", "a", "b-x", "b.x", "b/x", "b/y/z", "é"]
    assert paths(items) == names == sorted(names, key=os.fsencode)
    first = next(item for item in items if isinstance(item, Entry) and item.path == "a")
    status = (repository.path / "a").stat()
    assert (first.size, first.mtime_ns, first.mode) == (1, status.st_mtime_ns, status.st_mode)


def test_a_clean_file_has_the_blob_that_git_has(repository: WorkingRepository) -> None:
    repository.commit(a_py=b"print('hi')\n")
    entry = _entry(repository.path, "a.py")
    assert entry.blob == repository.git("hash-object", "a.py")
    assert entry.version == f"blob:{entry.blob}"


def test_sha256_repositories(tmp_path: Path, isolated_git: None) -> None:
    repository = WorkingRepository(tmp_path / "r", "--object-format=sha256")
    repository.commit(a_py=b"print('hi')\n")
    blob = _blob(repository.path, "a.py")
    assert blob == repository.git("hash-object", "a.py")
    assert len(blob) == 64


def test_a_racily_clean_file_proves_nothing(repository: WorkingRepository) -> None:
    repository.commit(a_py=b"1\n")
    changed = (repository.path / "a.py").stat().st_ctime_ns
    os.utime(repository.path / ".git/index", ns=(changed, changed))
    assert _blob(repository.path, "a.py") is None
    os.utime(repository.path / ".git/index", ns=(changed + 1, changed + 1))
    assert _blob(repository.path, "a.py") is not None


def test_an_edit_that_keeps_size_and_time_is_seen(repository: WorkingRepository) -> None:
    repository.commit(a_py=b"1\n")
    target = repository.path / "a.py"
    before = _entry(repository.path, "a.py")
    modified = target.stat().st_mtime_ns
    while target.stat().st_ctime_ns == before.mtime_ns:
        target.write_bytes(b"2\n")
    os.utime(target, ns=(modified, modified))
    after = _entry(repository.path, "a.py")
    assert (after.size, after.mtime_ns) == (before.size, before.mtime_ns)
    assert after.blob is None
    assert after.version != before.version


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"other\n"),
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: (path.rename(path.with_suffix(".old")), path.write_bytes(b"1\n")),
    ],
)
def test_a_touched_file_proves_nothing(repository: WorkingRepository, change: object) -> None:
    repository.commit(a_py=b"1\n")
    change(repository.path / "a.py")  # type: ignore[operator] # three shapes of callables
    assert _blob(repository.path, "a.py") is None


@pytest.mark.parametrize(
    ("attributes", "proven"),
    [
        (b"", True),
        (b"* text=auto\n", False),
        (b"*.py text\n", False),
        (b"*.py eol=crlf\n", False),
        (b"*.py filter=lfs\n", False),
        (b"*.py ident\n", False),
        (b"*.py working-tree-encoding=UTF-16\n", False),
        (b"* text=auto\n*.py -text\n", True),
        (b"* text=auto\n*.py binary\n", True),
        (b"* text=auto\n*.md text\n*.py !text\n", True),
        (b"*.md text\n", True),
    ],
)
def test_only_unconverted_files_are_proven_equal_to_their_blob(
    repository: WorkingRepository, attributes: bytes, proven: bool
) -> None:
    repository.commit(a_py=b"1\n")
    repository.write(".gitattributes", attributes)
    assert (_blob(repository.path, "a.py") is not None) is proven


def test_a_converted_file_still_has_a_version(repository: WorkingRepository) -> None:
    repository.write(".gitattributes", b"* text=auto\n")
    repository.commit(a_py=b"1\n")
    (entry,) = (item for item in listing(repository.path) if item.path == "a.py")
    assert isinstance(entry, Entry)
    assert entry.version is not None
    assert entry.version.startswith("stat:")


@pytest.mark.parametrize(("value", "proven"), [("true", False), ("input", False), ("false", True)])
def test_autocrlf_converts(repository: WorkingRepository, value: str, proven: bool) -> None:
    repository.commit(a_py=b"1\n")
    repository.git("config", "core.autocrlf", value)
    assert (_blob(repository.path, "a.py") is not None) is proven


def test_a_file_changed_just_now_has_no_version(repository: WorkingRepository) -> None:
    repository.write("a.py")
    repository.git("add", "a.py")
    changed = (repository.path / "a.py").stat().st_ctime_ns
    os.utime(repository.path / ".git/index", ns=(changed, changed))
    within_tick, past_tick = changed + 1_000_000, changed + 3_000_000_000
    (soon,) = listing(repository.path, clock=lambda: within_tick)
    (late,) = listing(repository.path, clock=lambda: past_tick)
    assert isinstance(soon, Entry)
    assert isinstance(late, Entry)
    assert soon.version is None
    assert late.version is not None


def test_what_the_work_tree_lacks_is_told_apart(repository: WorkingRepository) -> None:
    repository.commit(deleted_py=b"", sparse_py=b"", kept_py=b"")
    repository.git("update-index", "--skip-worktree", "sparse.py", "kept.py")
    for name in ("deleted.py", "sparse.py"):
        (repository.path / name).unlink()
    items = listing(repository.path)
    assert skips(items) == {"deleted.py": SkipReason.DELETED, "sparse.py": SkipReason.SPARSE}
    assert not any(reason.is_fault for reason in skips(items).values())
    assert paths(items) == ["kept.py"]


def test_sparse_checkouts_with_a_sparse_index(repository: WorkingRepository) -> None:
    for name in ("in/a", "out/b", "out/deep/c"):
        repository.write(name)
    repository.commit()
    repository.git("sparse-checkout", "set", "--cone", "--sparse-index", "in")
    items = listing(repository.path)
    assert paths(items) == ["in/a"]
    assert skips(items) == {"out": SkipReason.SPARSE}


def test_intent_to_add_is_listed_without_proof(repository: WorkingRepository) -> None:
    repository.write("new.py", b"")
    repository.git("add", "--intent-to-add", "new.py")
    repository.settle()
    assert _blob(repository.path, "new.py") is None


def test_a_conflict_is_one_skip(repository: WorkingRepository) -> None:
    repository.commit(a_py=b"base\n", z_py=b"1\n")
    repository.git("checkout", "-q", "-b", "other")
    repository.commit(a_py=b"theirs\n")
    repository.git("checkout", "-q", "main")
    repository.commit(a_py=b"ours\n")
    with pytest.raises(Exception, match="non-zero"):
        repository.git("merge", "other")
    items = listing(repository.path)
    assert len(items) == 2
    assert skips(items) == {"a.py": SkipReason.CONFLICTED}


def test_links_submodules_and_special_files_are_skipped_with_their_reason(
    repository: WorkingRepository, tmp_path: Path
) -> None:
    library = WorkingRepository(tmp_path / "library")
    library.commit(a_py=b"")
    repository.git(
        "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.path), "sub"
    )
    for name in ("fifo", "dir", "swapped", "below/file"):
        repository.write(name)
    (repository.path / "link").symlink_to("fifo")
    repository.commit()
    for name in ("fifo", "dir", "swapped", "below/file"):
        (repository.path / name).unlink()
    os.mkfifo(repository.path / "fifo")
    (repository.path / "dir").mkdir()
    (repository.path / "swapped").symlink_to("/etc/hostname")
    (repository.path / "below").rmdir()
    (repository.path / "below").symlink_to(tmp_path)
    items = listing(repository.path)
    assert paths(items) == [".gitmodules"]
    assert skips(items) == {
        "below/file": SkipReason.SYMLINK,
        "dir": SkipReason.SPECIAL_FILE,
        "fifo": SkipReason.SPECIAL_FILE,
        "link": SkipReason.SYMLINK,
        "sub": SkipReason.SUBMODULE,
        "swapped": SkipReason.SYMLINK,
    }


def test_names_that_are_not_utf8_and_names_that_attack_terminals(repository: WorkingRepository) -> None:
    names = [b"caf\xe9.py", b"new\nline.py", b"\x1b[2J.py", "日本.py".encode(), b"tab\t", b"back\\slash"]
    for name in names:
        repository.write(name, name)
    repository.add()
    opened = open_repository(repository.path)
    try:
        entries = [item for item in opened.entries() if isinstance(item, Entry)]
        assert [entry.path.encode("utf-8", "surrogateescape") for entry in entries] == sorted(names)
        for entry in entries:
            content = opened.read(entry, 100)
            assert content == entry.path.encode("utf-8", "surrogateescape")
    finally:
        opened.close()


@pytest.mark.parametrize("version", ["2", "3", "4"])
def test_every_version_of_the_index(repository: WorkingRepository, version: str) -> None:
    long = "/".join(["d" * 90] * 3)
    names = sorted([f"{long}/f1", f"{long}/f2", "a", "n/" + "e" * 200 + "/k", "zz", "n/o"], key=os.fsencode)
    for name in names:
        repository.write(name)
    repository.commit()
    repository.git("update-index", "--skip-worktree", "a")  # an extended flag, which version 2 cannot have
    repository.git("update-index", "--index-version", version)
    assert paths(listing(repository.path)) == names


def test_an_index_without_checksum_is_read(repository: WorkingRepository) -> None:
    repository.commit(a_py=b"")
    index = repository.path / ".git/index"
    index.write_bytes(index.read_bytes()[:-20] + bytes(20))
    assert paths(listing(repository.path)) == ["a.py"]


@pytest.mark.parametrize("position", [0, 9, INDEX_SIZE_AT_ENTRY, -1])
def test_a_damaged_index_is_one_clear_error(repository: WorkingRepository, position: int) -> None:
    repository.commit(a_py=b"", b_py=b"")
    index = repository.path / ".git/index"
    content = bytearray(index.read_bytes())
    content[position] ^= 0xFF
    index.write_bytes(content)
    with pytest.raises(PermanentError, match="index is corrupt"):
        listing(repository.path)


@pytest.mark.parametrize("length", [0, 4, 11, 60, 90])
def test_a_truncated_index_is_one_clear_error(repository: WorkingRepository, length: int) -> None:
    repository.commit(a_py=b"", b_py=b"")
    index = repository.path / ".git/index"
    index.write_bytes(index.read_bytes()[:length])
    with pytest.raises(PermanentError, match="index is corrupt"):
        listing(repository.path)


def test_a_repository_without_index_is_empty(repository: WorkingRepository) -> None:
    assert listing(repository.path) == []


def test_linked_worktrees(repository: WorkingRepository, tmp_path: Path) -> None:
    repository.commit(a_py=b"1\n")
    repository.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    items = listing(tmp_path / "linked")
    assert paths(items) == ["a.py"]
    opened = open_repository(tmp_path / "linked")
    state = opened.git_state()
    opened.close()
    assert state is not None
    assert (state.branch, state.commit) == ("side", repository.git("rev-parse", "HEAD"))


def test_a_directory_of_a_work_tree_is_listed_by_itself(repository: WorkingRepository) -> None:
    repository.write(".gitattributes", b"sub/*.x linguist-language=Python\n")
    for name in ("sub/a.x", "sub/deep/b", "sub-way", "other"):
        repository.write(name, name.encode())
    repository.commit()
    repository.write("sub/untracked")
    opened = open_repository(repository.path / "sub", include_untracked=True)
    try:
        entries = [item for item in opened.entries() if isinstance(item, Entry)]
        assert [entry.path for entry in entries] == ["a.x", "deep/b", "untracked"]
        assert entries[0].language_override == "Python"
        assert entries[0].blob == repository.git("hash-object", "sub/a.x")
        assert opened.read(entries[1], 100) == b"sub/deep/b"
        assert opened.name == "sub"
        state = opened.git_state()
        assert state is not None
        assert state.prefix == "sub/"
    finally:
        opened.close()


def test_untracked_files_are_merged_in_order_and_ignored_ones_left_out(repository: WorkingRepository) -> None:
    repository.write(".gitignore", b"*.log\n/out/\n")
    repository.write("b/tracked")
    repository.write("out/forced")
    repository.git("add", "--force", ".gitignore", "b/tracked", "out/forced")
    for name in ("a", "b/new", "b/x.log", "c-", "out/other", "zz"):
        repository.write(name)
    repository.write("b/.gitignore", b"!keep.log\nprivate\n")
    repository.write("b/keep.log")
    repository.write("b/private/x")
    (repository.path / ".git/info").mkdir(exist_ok=True)
    (repository.path / ".git/info/exclude").write_text("zz\n")
    assert paths(listing(repository.path, include_untracked=True)) == [
        ".gitignore",
        "a",
        "b/.gitignore",
        "b/keep.log",
        "b/new",
        "b/tracked",
        "c-",
        "out/forced",
    ]
    assert paths(listing(repository.path)) == [".gitignore", "b/tracked", "out/forced"]


def test_the_users_own_excludes_count(
    repository: WorkingRepository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ignore").write_text("*.swp\n")
    (tmp_path / "gitconfig").write_text(f"[core]\n\texcludesFile = {tmp_path / 'ignore'}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    repository.write("a.swp")
    repository.write("a.py")
    assert paths(listing(repository.path, include_untracked=True)) == ["a.py"]


def test_an_untracked_repository_inside_is_not_entered(repository: WorkingRepository, tmp_path: Path) -> None:
    library = WorkingRepository(tmp_path / "library")
    library.commit(a_py=b"")
    repository.git(
        "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.path), "sub"
    )
    WorkingRepository(repository.path / "nested").commit(b_py=b"")
    items = listing(repository.path, include_untracked=True)
    assert paths(items) == [".gitmodules"]
    assert [(item.path, item.reason) for item in items if isinstance(item, Skip)] == [
        ("nested", SkipReason.SUBMODULE),
        ("sub", SkipReason.SUBMODULE),
    ]


def test_listing_streams(repository: WorkingRepository) -> None:
    def peak(count: int) -> int:
        index = BytesIO()
        writer = IndexChecksumWriter(index)
        names = (b"directory-%03d/file-%06d.py" % (number // 100, number) for number in range(count))
        entry = [
            SerializedIndexEntry(name, 0, 0, 0, 0, 0o100644, 0, 0, 0, ObjectID(b"0" * 40), len(name), 0)
            for name in names
        ]
        write_index(writer, entry)
        writer.write_checksum()
        (repository.path / ".git/index").write_bytes(index.getvalue())
        opened = open_repository(repository.path)
        del entry, index, writer
        tracemalloc.start()
        try:
            assert sum(1 for _ in opened.entries()) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            opened.close()

    peak(10)
    assert peak(20_000) < 1.3 * peak(2_000) + 100_000
