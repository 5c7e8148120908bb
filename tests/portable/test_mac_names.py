"""Names on the disk of a Mac: composed and decomposed forms are one file, and so is every case."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from core.repository.discover import open_repository
from core.repository.facts import Entry
from tests.git_repositories import WorkingRepository, listing, paths
from tests.portable.mac_disk import mount

pytestmark = pytest.mark.usefixtures("isolated_git")

NFC = "grün/straße-é.py"
NFD = unicodedata.normalize("NFD", NFC)


@pytest.fixture
def repository(tmp_path: Path) -> WorkingRepository:
    """A repository as Git on a Mac makes it, with an index in NFC."""
    made = WorkingRepository(tmp_path / "r")
    made.git("config", "core.precomposeunicode", "true")
    made.git("config", "core.ignorecase", "true")
    made.write(NFC)
    made.write("Makefile")
    made.git("add", ".")
    made.write("näu.py")
    return made


def test_a_tracked_file_is_listed_once_and_untracked_names_are_composed(
    repository: WorkingRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_linux = paths(listing(repository.path, include_untracked=True))
    mount(monkeypatch)
    assert paths(listing(repository.path, include_untracked=True)) == on_linux == ["Makefile", NFC, "näu.py"]


def test_a_rename_that_changes_only_case_is_one_file(
    repository: WorkingRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository.path / "Makefile").rename(repository.path / "makefile")
    mount(monkeypatch)
    assert paths(listing(repository.path, include_untracked=True)) == ["Makefile", NFC, "näu.py"]


def test_files_that_differ_in_case_are_two_where_the_disk_tells_them_apart(
    repository: WorkingRepository,
) -> None:
    repository.write("makefile")
    assert "makefile" in paths(listing(repository.path, include_untracked=True))


def test_a_plain_directory_publishes_composed_names_and_reads_by_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / NFC).parent.mkdir()
    (tmp_path / NFC).write_bytes(b"x = 1\n")
    mount(monkeypatch)
    repository = open_repository(tmp_path)
    try:
        (entry,) = repository.entries()
        assert isinstance(entry, Entry)
        assert entry.path == NFC
        assert repository.read(entry, 100) == b"x = 1\n"
    finally:
        repository.close()


def test_two_forms_are_two_files_where_the_disk_tells_them_apart(tmp_path: Path) -> None:
    for name in ("é.py", unicodedata.normalize("NFD", "é.py")):
        (tmp_path / name).write_bytes(b"x = 1\n")
    assert len(paths(listing(tmp_path))) == 2
