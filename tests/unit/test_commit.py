"""A commit is read from the object store, whatever the work tree looks like."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dulwich.object_store import DiskObjectStore
from dulwich.objects import Commit, ObjectID

from core.errors import UsageError
from core.repository.discover import open_repository
from core.repository.facts import Entry, Skip, SkipReason
from tests.git_repositories import WorkingRepository, entry_of, listing, paths, skips


def _fill(repository: WorkingRepository) -> str:
    for name in ("b/x", "b-x", "b.x", "a", "b/y/z"):
        repository.write(name, name.encode())
    (repository.path / "link").symlink_to("a")
    (repository.path / "a").chmod(0o755)
    return repository.commit()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_files_come_in_byte_order_with_their_bytes(
    tmp_path: Path, isolated_git: None, object_format: str, packed: bool
) -> None:
    repository = WorkingRepository(tmp_path / "r", f"--object-format={object_format}")
    commit = _fill(repository)
    if packed:
        repository.git("gc", "--quiet")
    opened = open_repository(repository.path, ref="main")
    items = list(opened.entries())
    entries = [item for item in items if isinstance(item, Entry)]
    assert [entry.path for entry in entries] == ["a", "b-x", "b.x", "b/x", "b/y/z"]
    assert skips(items) == {"link": SkipReason.SYMLINK}
    for entry in entries:
        name = entry.path.encode()
        assert opened.read(entry, 100) == opened.read(entry, 100) == name
        assert opened.read(entry, 1) == name[:1]
        stream = opened.open(entry)
        assert not isinstance(stream, Skip)
        assert stream.read() == name
        assert entry.size == len(name)
        assert entry.blob == repository.git("rev-parse", f"main:{entry.path}")
        assert entry.version == f"blob:{entry.blob}"
        assert entry.mtime_ns == 1_767_614_400 * 10**9
    assert entries[0].mode & 0o111
    state = opened.git_state()
    assert state is not None
    assert (state.commit, state.branch) == (commit, "main")
    assert opened.is_dirty() is False
    opened.close()
    opened.close()


def test_a_bare_repository_means_its_head(repository: WorkingRepository, tmp_path: Path) -> None:
    _fill(repository)
    repository.git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare.git"))
    opened = open_repository(tmp_path / "bare.git")
    assert opened.name == "bare"
    assert len(paths(list(opened.entries()))) == 5
    state = opened.git_state()
    assert state is not None
    assert state.branch == "main"
    opened.close()


def test_the_work_tree_does_not_matter(repository: WorkingRepository) -> None:
    _fill(repository)
    shutil.rmtree(repository.path / "b")
    repository.write("a", b"changed")
    repository.write("new")
    assert paths(listing(repository.path, ref="HEAD")) == ["a", "b-x", "b.x", "b/x", "b/y/z"]


def test_what_names_a_commit(repository: WorkingRepository) -> None:
    first = repository.commit(a_py=b"1\n")
    repository.git("tag", "--annotate", "--message", "one", "v1")
    repository.git("branch", "feature/x")
    second = repository.commit(b_py=b"2\n")
    for ref in (first, first[:8], "v1", "refs/tags/v1", "feature/x", "HEAD~1", "main^"):
        assert paths(listing(repository.path, ref=ref)) == ["a.py"], ref
    for ref in (second, "HEAD", "main", "refs/heads/main"):
        assert paths(listing(repository.path, ref=ref)) == ["a.py", "b.py"], ref


@pytest.mark.parametrize(
    "ref",
    ["nope", "", "0" * 40, "main:a.py", "HEAD:", "../../x", "\x1b[2J", "a\0b", "--all", "main~99", "\udcff"],
)
def test_what_names_no_commit_is_a_usage_error(repository: WorkingRepository, ref: str) -> None:
    repository.commit(a_py=b"1\n")
    with pytest.raises(UsageError) as caught:
        open_repository(repository.path, ref=ref)
    assert str(caught.value).isprintable()


def test_an_abbreviation_of_several_commits_is_ambiguous(repository: WorkingRepository) -> None:
    repository.commit(a_py=b"1\n")
    commit = Commit()
    commit.tree = ObjectID(repository.git("rev-parse", "HEAD^{tree}").encode())
    commit.author = commit.committer = b"A <a@example.com>"
    commit.author_time = commit.commit_time = commit.author_timezone = commit.commit_timezone = 0
    seen: dict[bytes, bytes] = {}
    for number in range(100_000):
        commit.message = b"%d" % number
        if seen.setdefault(commit.id[:4], commit.message) != commit.message:
            break
    store = DiskObjectStore(str(repository.path / ".git/objects"))
    prefix = commit.id[:4].decode()
    for message in (commit.message, seen[commit.id[:4]]):
        commit.message = message
        store.add_object(commit)
    store.close()
    with pytest.raises(UsageError, match="ambiguous"):
        open_repository(repository.path, ref=prefix)


def test_a_tree_or_a_blob_is_no_commit(repository: WorkingRepository) -> None:
    repository.commit(a_py=b"1\n")
    for ref in (
        "HEAD^{tree}",
        repository.git("rev-parse", "HEAD:a.py"),
        repository.git("rev-parse", "HEAD:"),
    ):
        with pytest.raises(UsageError):
            open_repository(repository.path, ref=ref)


def test_a_repository_without_commits(repository: WorkingRepository) -> None:
    with pytest.raises(UsageError, match="HEAD is no commit"):
        open_repository(repository.path, ref="HEAD")


def test_attributes_come_from_the_commit(repository: WorkingRepository) -> None:
    repository.write(".gitattributes", b"*.x linguist-language=Go\nsub/** linguist-generated\n")
    repository.write("sub/.gitattributes", b"*.x linguist-language=Rust\n")
    repository.write("a.x")
    repository.write("sub/a.x")
    repository.commit()
    (repository.path / ".gitattributes").unlink()
    opened = open_repository(repository.path, ref="HEAD")
    top, below = entry_of(opened, "a.x"), entry_of(opened, "sub/a.x")
    opened.close()
    assert (top.language_override, top.generated) == ("Go", None)
    assert (below.language_override, below.generated) == ("Rust", True)


def test_a_directory_of_a_commit_is_listed_by_itself(repository: WorkingRepository) -> None:
    repository.write(".gitattributes", b"b/x linguist-language=Go\n")
    _fill(repository)
    opened = open_repository(repository.path / "b", ref="HEAD")
    entries = [item for item in opened.entries() if isinstance(item, Entry)]
    assert [(entry.path, entry.language_override) for entry in entries] == [("x", "Go"), ("y/z", None)]
    assert opened.read(entries[1], 99) == b"b/y/z"
    state = opened.git_state()
    assert state is not None
    assert state.prefix == "b/"
    opened.close()


def test_a_submodule_is_skipped(repository: WorkingRepository, tmp_path: Path) -> None:
    library = WorkingRepository(tmp_path / "library")
    library.commit(a_py=b"")
    repository.git(
        "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.path), "sub"
    )
    repository.commit()
    assert skips(listing(repository.path, ref="HEAD")) == {"sub": SkipReason.SUBMODULE}


def test_a_partial_clone_lists_what_it_has(repository: WorkingRepository, tmp_path: Path) -> None:
    repository.write("big", b"x" * 5000)
    repository.commit(a_py=b"1\n")
    repository.git("config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone"
    repository.git("clone", "-q", "--bare", "--filter=blob:limit=1k", f"file://{repository.path}", str(clone))
    items = listing(clone)
    assert paths(items) == ["a.py"]
    assert skips(items) == {"big": SkipReason.CORRUPT_OBJECT}


def test_blobs_read_for_their_size_are_not_read_again(
    repository: WorkingRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        repository.write(f"f{number}", b"%d" % number)
    repository.commit()
    opened = open_repository(repository.path, ref="HEAD")
    entries = [item for item in opened.entries() if isinstance(item, Entry)]
    monkeypatch.setattr("core.repository.git_tree.Objects.blob", None)
    assert [opened.read(entry, 99) for entry in entries] == [entry.path[1:].encode() for entry in entries]
    monkeypatch.undo()
    opened.close()
