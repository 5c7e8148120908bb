"""Git's index, compared with what git says of it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from contextlib import closing, suppress
from hashlib import sha1
from pathlib import Path

import pytest
from dulwich.object_format import get_object_format
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import PermanentError
from core.repository.discover import open_repository
from core.repository.facts import Countable
from core.repository.split_index import Index
from tests.git_repositories import ISOLATED, WorkingRepository, listing, paths

NAMES = ("a", "a-b", "a.py", "a/b", "a/c", "b", "é/ü", "x" * 4094, "x" * 4095, "y" * 4096, "z/" * 2000 + "z")
STAGE_SHIFT = 12


class Place:
    """A repository of which only the index matters."""

    def __init__(self, path: Path, object_format: str) -> None:
        self.path = path
        self.object_format = object_format
        self.digits = {"sha1": 40, "sha256": 64}[object_format]
        self.git("init", "-q", f"--object-format={object_format}")
        self.git("config", "splitIndex.maxPercentChange", "100")

    def git(self, *arguments: str, stdin: bytes = b"") -> bytes:
        command = ["git", *arguments]
        environment = {**os.environ, **ISOLATED}
        return subprocess.run(
            command, cwd=self.path, env=environment, input=stdin, check=True, capture_output=True
        ).stdout

    def set(self, name: str, *stages: int, content: int = 1) -> None:
        """Give `name` exactly these stages; none removes it."""
        # One entry in place of another is replaced in a split index; what was removed before is added.
        lines = [] if stages == (0,) else [f"0 {'0' * self.digits} 0\t{name}"]
        lines += [f"100644 {content + stage:0{self.digits}x} {stage}\t{name}" for stage in stages]
        self.git("update-index", "-z", "--index-info", stdin="\0".join([*lines, ""]).encode())

    def flag(self, name: str) -> None:
        """Mark `name`, if it is there and not in conflict, so that its entry has extended flags."""
        if self.git("ls-files", "-s", "-z", "--", f":(literal){name}").count(b" 0\t"):
            self.git("update-index", "--skip-worktree", "--", name)

    def listed(self) -> list[tuple[int, bytes, int, bytes]]:
        """Mode, object id, stage and name of every entry, by git."""
        rows = (row.partition(b"\t") for row in self.git("ls-files", "-s", "-z").split(b"\0") if row)
        return [
            (int(mode, 8), oid, int(stage), name)
            for head, _, name in rows
            for mode, oid, stage in [head.split()]
        ]

    def read(self) -> list[tuple[int, bytes, int, bytes]]:
        """The same, by archon."""
        path = self.path / ".git/index"
        if not path.exists():
            return []
        with closing(Index(path, get_object_format(self.object_format))) as index:
            found = [
                (entry.mode, bytes(entry.sha), entry.flags >> STAGE_SHIFT & 3, entry.name)
                for entry in index.entries()
            ]
            assert index.count == len(found)
        return found


NAME = st.sampled_from(NAMES)
STAGES = st.sampled_from([(), (0,), (0,), (1, 2, 3), (2, 3)])
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("set"), NAME, st.sampled_from([(), (0,), (0,), (1, 2, 3), (2, 3)]), st.integers(1, 9)
        ),
        st.tuples(st.just("flag"), NAME),
        st.tuples(st.just("split"), st.sampled_from(["--split-index", "--split-index", "--no-split-index"])),
        st.tuples(st.just("version"), st.sampled_from(["2", "4"])),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=40, deadline=None)
@given(object_format=st.sampled_from(["sha1", "sha256"]), many=st.booleans(), steps=STEPS)
def test_every_index_that_git_writes_is_read_as_git_reads_it(
    object_format: str, many: bool, steps: list[tuple[object, ...]]
) -> None:
    directory = Path(tempfile.mkdtemp())
    try:
        place = Place(directory, object_format)
        if many:  # bitmaps of several words, and of runs
            oid = "1".zfill(place.digits)
            place.git(
                "update-index", "--index-info",
                stdin="".join(f"100644 {oid} 0\tm{number:04}\n" for number in range(400)).encode(),
            )  # fmt: skip
        for step in steps:
            match step:
                case ("set", str(name), tuple(stages), int(content)):
                    place.set(name, *stages, content=content)
                case ("flag", str(name)):
                    place.flag(name)
                case ("split", str(option)):
                    place.git("update-index", option)
                    if many and option == "--split-index":
                        gone = "".join(
                            f"0 {'0' * place.digits} 0\tm{number:04}\n" for number in range(64, 192)
                        )
                        place.git("update-index", "--index-info", stdin=gone.encode())
                case ("version", str(version)):
                    place.git("update-index", "--index-version", version)
            assert place.read() == place.listed()
    finally:
        shutil.rmtree(directory)


def test_a_split_index_is_listed_and_counted(repository: WorkingRepository) -> None:
    repository.commit(a_py=b"a\n", b_py=b"b\n", c_py=b"c\n")
    repository.git("update-index", "--split-index")
    repository.git("rm", "-q", "--cached", "b.py")
    repository.write("d.py")
    repository.git("add", "d.py")
    repository.settle()
    assert list((repository.path / ".git").glob("sharedindex.*"))
    assert paths(listing(repository.path)) == ["a.py", "c.py", "d.py"]
    with closing(open_repository(repository.path)) as opened:
        assert isinstance(opened, Countable)
        assert opened.count_files() == 3


def test_a_sparse_index_is_listed(repository: WorkingRepository) -> None:
    for name in ("in/a.py", "out/deep/b.py", "top.py"):
        repository.write(name)
    repository.commit()
    repository.git("sparse-checkout", "set", "--cone", "--sparse-index", "in")
    assert b"sdir" in (repository.path / ".git/index").read_bytes()
    assert set(paths(listing(repository.path))) >= {"in/a.py", "top.py"}


@pytest.mark.parametrize(
    "command",
    [
        ("update-index", "--force-untracked-cache"),
        ("-c", "index.threads=2", "update-index", "--force-write-index"),
    ],
)
def test_extensions_that_only_speed_git_up_are_passed_over(
    repository: WorkingRepository, command: tuple[str, ...]
) -> None:
    repository.commit(a_py=b"a\n")
    repository.git(*command)
    repository.git("status")
    assert paths(listing(repository.path)) == ["a.py"]


def _rewritten(index: Path, content: bytes) -> None:
    index.write_bytes(content + sha1(content, usedforsecurity=False).digest())


@pytest.fixture
def index(repository: WorkingRepository) -> Path:
    """An ordinary index of two files."""
    repository.commit(a_py=b"a\n", b_py=b"b\n")
    return repository.path / ".git/index"


def test_a_required_extension_that_is_not_known_is_named(repository: WorkingRepository, index: Path) -> None:
    content = index.read_bytes()[:-20]
    _rewritten(index, content + b"NEWS" + struct.pack(">L", 3) + b"abc")
    assert paths(listing(repository.path)) == ["a.py", "b.py"]
    _rewritten(index, content + b"news" + struct.pack(">L", 3) + b"abc")
    with pytest.raises(PermanentError, match="extension news"):
        listing(repository.path)


def test_a_version_that_is_not_known_is_named(repository: WorkingRepository, index: Path) -> None:
    content = index.read_bytes()[:-20]
    _rewritten(index, content[:4] + struct.pack(">L", 5) + content[8:])
    with pytest.raises(PermanentError, match="version 5") as refused:
        listing(repository.path)
    assert "rm" not in (refused.value.hint or "").split()


def test_a_shared_part_that_is_missing_or_another_is_one_clear_error(
    repository: WorkingRepository, index: Path
) -> None:
    repository.git("update-index", "--split-index")
    (shared,) = index.parent.glob("sharedindex.*")
    content = shared.read_bytes()[:-20]
    _rewritten(shared, content + b"MORE" + struct.pack(">L", 0))
    with pytest.raises(PermanentError, match="is another one"):
        listing(repository.path)
    shared.unlink()
    with pytest.raises(PermanentError, match=f"{shared.name} is missing") as refused:
        listing(repository.path)
    assert "rm" not in (refused.value.hint or "").split("`")


@given(noise=st.binary(max_size=80), null_base=st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_link_of_any_bytes_ends_in_one_clear_error_or_a_listing(noise: bytes, null_base: bool) -> None:
    directory = Path(tempfile.mkdtemp())
    try:
        shared = b"DIRC" + struct.pack(">LL", 2, 0)
        name = sha1(shared, usedforsecurity=False)
        _rewritten(directory / f"sharedindex.{name.hexdigest()}", shared)
        data = (bytes(20) if null_base else name.digest()) + noise
        _rewritten(directory / "index", shared + b"link" + struct.pack(">L", len(data)) + data)
        with (
            suppress(PermanentError),
            closing(Index(directory / "index", get_object_format("sha1"))) as opened,
        ):
            assert list(opened.entries()) == []
    finally:
        shutil.rmtree(directory)
