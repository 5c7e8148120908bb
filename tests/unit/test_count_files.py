"""How many files are expected: said before the first is read, for progress only."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from core.repository.discover import open_repository
from core.repository.facts import Countable
from tests.repositories import FILES, commit


def test_a_work_tree_knows_its_number(tmp_path: Path) -> None:
    with closing(open_repository(commit(tmp_path / "r"))) as repository:
        assert isinstance(repository, Countable)
        assert repository.count_files() == len(FILES)


def test_an_unreadable_index_has_none_to_expect(tmp_path: Path) -> None:
    root = commit(tmp_path / "r")
    (root / ".git" / "index").write_bytes(b"nonsense")
    with closing(open_repository(root)) as repository:
        assert isinstance(repository, Countable)
        assert repository.count_files() == 0


def test_a_plain_directory_does_not_know(tmp_path: Path) -> None:
    with closing(open_repository(tmp_path)) as repository:
        assert not isinstance(repository, Countable)
