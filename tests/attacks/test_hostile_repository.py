"""Repositories made by an enemy: nothing outside is read, nothing hangs, nothing is believed unchecked."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import pytest
from dulwich.index import IndexChecksumWriter, SerializedIndexEntry, write_index
from dulwich.object_store import DiskObjectStore
from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tree

from core.errors import ArchonError, PermanentError, UsageError
from core.repository.discover import open_repository
from core.repository.facts import Entry, Skip, SkipReason
from core.repository.git_tree import Objects, TreeListing
from tests.git_repositories import WorkingRepository, listing, paths, skips

REGULAR = 0o100644


def _write_index(repository: WorkingRepository, names: Iterable[bytes], *, mode: int = REGULAR) -> None:
    content = BytesIO()
    writer = IndexChecksumWriter(content)
    entries = [
        SerializedIndexEntry(name, 0, 0, 0, 0, mode, 0, 0, 0, ObjectID(b"0" * 40), len(name), 0)
        for name in names
    ]
    write_index(writer, entries)
    writer.write_checksum()
    (repository.path / ".git/index").write_bytes(content.getvalue())


class _Store:
    """Writes objects, however malformed, into a bare repository."""

    def __init__(self, path: Path) -> None:
        self.repository = WorkingRepository(path, "--bare")
        self.store = DiskObjectStore(str(path / "objects"))

    def add(self, item: ShaFile) -> bytes:
        self.store.add_object(item)
        return item.id

    def blob(self, content: bytes) -> bytes:
        return self.add(Blob.from_string(content))

    def tree(self, *entries: tuple[int, bytes, bytes]) -> bytes:
        raw = b"".join(
            b"%o %s\0%s" % (mode, name, bytes.fromhex(sha.decode())) for mode, name, sha in entries
        )
        tree = ShaFile.from_raw_string(Tree.type_num, raw)
        return self.add(tree)

    def raw(self, kind: bytes, content: bytes) -> bytes:
        """A loose object that dulwich would refuse to write."""
        whole = b"%s %d\0%s" % (kind, len(content), content)
        name = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
        target = self.repository.path / "objects" / name[:2] / name[2:]
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(zlib.compress(whole))
        return name.encode()

    def commit(self, tree: bytes) -> Path:
        commit = Commit()
        commit.tree = ObjectID(tree)
        commit.author = commit.committer = b"E <e@example.com>"
        commit.author_time = commit.commit_time = 1_767_614_400
        commit.author_timezone = commit.commit_timezone = 0
        commit.message = b"hostile"
        self.add(commit)
        (self.repository.path / "refs/heads/main").write_bytes(commit.id + b"\n")
        self.store.close()
        return self.repository.path


@pytest.fixture
def store(tmp_path: Path, isolated_git: None) -> _Store:
    return _Store(tmp_path / "hostile.git")


OUTSIDE = [
    b"../secret",
    b"/etc/passwd",
    b"a/../../secret",
    b".git/config",
    b"sub/.GIT/hooks/post-checkout",
    b"a//b",
]


def test_an_index_that_leads_outside(repository: WorkingRepository) -> None:
    (repository.path.parent / "secret").write_bytes(b"outside")
    repository.write("honest")
    _write_index(repository, sorted([*OUTSIDE, b"honest"]))
    items = listing(repository.path, include_untracked=True)
    assert paths(items) == ["honest"]
    assert skips(items) == {name.decode(): SkipReason.OUTSIDE_REPOSITORY for name in OUTSIDE}


def test_reading_checks_paths_again(repository: WorkingRepository) -> None:
    secret = repository.path.parent / "secret"
    secret.write_bytes(b"outside")
    status = secret.stat()
    opened = open_repository(repository.path)
    for name in OUTSIDE:
        entry = Entry(name.decode(), status.st_size, status.st_mtime_ns, status.st_mode)
        assert opened.read(entry, 100) == Skip(entry.path, SkipReason.OUTSIDE_REPOSITORY)
    opened.close()


def test_an_index_out_of_order_or_with_duplicates(repository: WorkingRepository) -> None:
    for names in ([b"b", b"a"], [b"a", b"a"]):
        _write_index(repository, names)
        with pytest.raises(PermanentError, match="out of order"):
            listing(repository.path)


def test_an_index_that_claims_more_than_it_has(repository: WorkingRepository) -> None:
    _write_index(repository, [b"a"])
    index = repository.path / ".git/index"
    content = bytearray(index.read_bytes())
    content[8:12] = struct.pack(">L", 0xFFFFFFFF)
    content[-20:] = bytes(20)
    index.write_bytes(content)
    with pytest.raises(PermanentError, match="corrupt"):
        listing(repository.path)


def test_a_huge_prefix_length_in_a_version_4_index(repository: WorkingRepository) -> None:
    repository.commit(a_py=b"", b_py=b"")
    repository.git("update-index", "--index-version", "4")
    index = repository.path / ".git/index"
    content = bytearray(index.read_bytes())
    at = content.rindex(b"b.py\0") - 1
    content[at : at + 1] = b"\xff" * 4000
    content[-20:] = bytes(20)
    index.write_bytes(content)
    with pytest.raises(PermanentError, match="corrupt"):
        listing(repository.path)


@pytest.mark.parametrize("name", ["HEAD", "config", "index", "commondir", "packed-refs", "info/exclude"])
def test_a_fifo_inside_git_does_not_hang(repository: WorkingRepository, name: str) -> None:
    repository.commit(a_py=b"")
    target = repository.path / ".git" / name
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    os.mkfifo(target)
    with pytest.raises(ArchonError):
        listing(repository.path, include_untracked=True)


def test_configuration_of_the_repository_reads_no_other_file(
    repository: WorkingRepository, tmp_path: Path
) -> None:
    repository.commit(a_py=b"1\n")
    os.mkfifo(tmp_path / "trap")
    with (repository.path / ".git/config").open("a") as config:
        config.write(f"[include]\n\tpath = {tmp_path / 'trap'}\n[core]\n\tworktree = /etc\n")
        config.write(f"\texcludesFile = {tmp_path / 'trap'}\n\tattributesFile = {tmp_path / 'trap'}\n")
        config.write("\tfsmonitor = touch /tmp/owned\n")
    assert paths(listing(repository.path, include_untracked=True)) == ["a.py"]


def test_a_git_file_that_points_nowhere(tmp_path: Path) -> None:
    for content in (b"gitdir: /nowhere\n", b"gitdir: a\0b\n", b"garbage", b"", b"gitdir: " + b"x" * 9000):
        (tmp_path / ".git").write_bytes(content)
        with pytest.raises(PermanentError) as caught:
            listing(tmp_path)
        assert str(caught.value).isprintable()


def test_a_tree_that_leads_outside(store: _Store) -> None:
    blob = store.blob(b"content")
    inner = store.tree((REGULAR, b"x", blob))
    names = sorted([b"..", b".", b".git", b"a/b", b"good", b"nul", b"../../x"])
    path = store.commit(
        store.tree(
            *(
                (stat.S_IFDIR, name, inner) if name in (b"..", b".git") else (REGULAR, name, blob)
                for name in names
            )
        )
    )
    items = listing(path)
    assert paths(items) == ["good", "nul"]
    assert skips(items) == dict.fromkeys(["..", ".", ".git", "a/b", "../../x"], SkipReason.OUTSIDE_REPOSITORY)


def test_a_tree_out_of_order_or_with_duplicates_is_not_believed(store: _Store) -> None:
    blob = store.blob(b"content")
    for number, names in enumerate([(b"b", b"a"), (b"a", b"a")]):
        bad = store.tree(*((REGULAR, name, blob) for name in names))
        path = store.commit(store.tree((stat.S_IFDIR, b"bad%d" % number, bad), (REGULAR, b"good", blob)))
        items = listing(path)
        assert paths(items) == ["good"]
        assert skips(items) == {f"bad{number}": SkipReason.CORRUPT_OBJECT}


def test_a_malformed_tree(store: _Store) -> None:
    bad = store.raw(b"tree", b"100644 name-without-end")
    path = store.commit(store.tree((stat.S_IFDIR, b"bad", bad), (REGULAR, b"good", store.blob(b""))))
    assert skips(listing(path)) == {"bad": SkipReason.CORRUPT_OBJECT}


def test_modes_that_lie_about_their_objects(store: _Store) -> None:
    blob = store.blob(b"content")
    tree = store.tree((REGULAR, b"x", blob))
    path = store.commit(
        store.tree(
            (stat.S_IFIFO | 0o644, b"fifo", blob), (REGULAR, b"tree", tree), (stat.S_IFDIR, b"word", blob)
        )
    )
    assert skips(listing(path)) == {
        "fifo": SkipReason.SPECIAL_FILE,
        "tree": SkipReason.CORRUPT_OBJECT,
        "word": SkipReason.CORRUPT_OBJECT,
    }


def test_missing_objects(store: _Store) -> None:
    absent = b"1" * 40
    path = store.commit(
        store.tree((REGULAR, b"a", absent), (REGULAR, b"b", store.blob(b"b")), (stat.S_IFDIR, b"c", absent))
    )
    items = listing(path)
    assert paths(items) == ["b"]
    assert skips(items) == {"a": SkipReason.CORRUPT_OBJECT, "c": SkipReason.CORRUPT_OBJECT}
    assert all(reason.is_fault for reason in skips(items).values())


def test_a_valid_object_under_a_wrong_name_is_not_served(store: _Store) -> None:
    wanted, other = store.blob(b"wanted"), store.blob(b"other")
    path = store.commit(store.tree((REGULAR, b"file", wanted)))

    def loose(sha: bytes) -> Path:
        return path / "objects" / sha[:2].decode() / sha[2:].decode()

    content = loose(other).read_bytes()
    loose(wanted).unlink()
    loose(wanted).write_bytes(content)
    assert skips(listing(path)) == {"file": SkipReason.CORRUPT_OBJECT}


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\x78\x9c" + b"\0" * 30])
def test_damaged_objects(store: _Store, damage: bytes) -> None:
    wanted = store.blob(b"wanted")
    path = store.commit(store.tree((REGULAR, b"file", wanted)))
    target = path / "objects" / wanted[:2].decode() / wanted[2:].decode()
    target.unlink()
    target.write_bytes(damage)
    assert skips(listing(path)) == {"file": SkipReason.CORRUPT_OBJECT}


def test_a_damaged_pack(repository: WorkingRepository) -> None:
    repository.commit(a_py=os.urandom(5000), b_py=os.urandom(5000))
    repository.git("gc", "--quiet")
    (pack,) = (repository.path / ".git/objects/pack").glob("*.pack")
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 0xFF
    pack.chmod(0o600)
    pack.write_bytes(content)
    items = listing(repository.path, ref="HEAD")
    assert len(items) == 2
    assert list(skips(items).values()) == [SkipReason.CORRUPT_OBJECT]


def test_a_few_objects_that_pretend_to_be_ten_billion_files(store: _Store) -> None:
    tree = store.tree(*((REGULAR, b"f%d" % number, store.blob(b"")) for number in range(10)))
    for _ in range(9):
        tree = store.tree(*((stat.S_IFDIR, b"d%d" % number, tree) for number in range(10)))
    store.commit(tree)
    objects = Objects(store.store)
    with pytest.raises(PermanentError, match="more than 5,000 files"):
        for _ in TreeListing(objects, tree.decode(), limit=5_000).files():
            pass
    objects.close()


def test_a_tree_deeper_than_any_path(store: _Store) -> None:
    tree = store.tree((REGULAR, b"leaf", store.blob(b"")))
    for _ in range(2100):
        tree = store.tree((stat.S_IFDIR, b"d", tree))
    items = listing(store.commit(tree))
    assert [type(item) for item in items] == [Skip]
    assert items[0].path.count("/") < 2100


def _head_commit(path: Path) -> str | None:
    opened = open_repository(path)
    try:
        state = opened.git_state()
        return state.commit if state else None
    except PermanentError as error:
        return None if str(error).isprintable() else str(error)
    finally:
        opened.close()


def test_head_and_refs_that_are_not_what_they_should_be(repository: WorkingRepository) -> None:
    repository.commit(a_py=b"")
    head = repository.path / ".git/HEAD"
    for content in (
        b"ref: refs/heads/../../../../etc/passwd\n",
        b"ref: HEAD\n",
        b"\x1b[2J\n",
        b"x" * 40 + b"\n",
        b"",
    ):
        head.write_bytes(content)
        assert _head_commit(repository.path) is None
        with pytest.raises(UsageError):
            open_repository(repository.path, ref="HEAD")


def test_a_directory_that_becomes_a_link_while_it_is_listed(
    repository: WorkingRepository, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_bytes(b"outside")
    for name in ("a", "sub/file", "sub2/x"):
        repository.write(name, b"inside!")
    repository.add()
    opened = open_repository(repository.path)
    items = opened.entries()
    first = next(items)
    (repository.path / "sub").rename(repository.path / "moved")
    (repository.path / "sub").symlink_to(tmp_path / "elsewhere")
    rest = list(items)
    assert [item.path for item in (first, *rest) if isinstance(item, Entry)] == ["a", "sub2/x"]
    assert skips(rest) == {"sub/file": SkipReason.SYMLINK}
    opened.close()
