"""The manifest skips a file only where its version, or its checksum, proves it published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.manifest import SqliteManifest
from core.repository.facts import Entry, FileFacts

CHECKSUM = "sha256:" + "0" * 64


def _entry(path: str = "a.py", version: str | None = "stat:1") -> Entry:
    return Entry(path, 3, 10, 0o100644, None, version)


def _facts(entry: Entry) -> FileFacts:
    return FileFacts(entry, "python", False, "utf-8", False, False, False, CHECKSUM)


@pytest.fixture
def manifest(tmp_path: Path) -> Iterator[SqliteManifest]:
    with closing(SqliteManifest(tmp_path / "manifest.sqlite", "log/project")) as manifest:
        manifest.record([(_facts(_entry()), CHECKSUM), (_facts(_entry("b.py", None)), CHECKSUM)])
        yield manifest


def test_only_an_equal_version_proves_a_file_unchanged(manifest: SqliteManifest) -> None:
    entries = [_entry(), _entry(version="stat:2"), _entry(version=None), _entry("b.py", None), _entry("c.py")]
    assert manifest.unchanged(entries) == [True, False, False, False, False]


def test_a_file_read_and_found_the_same_is_proven_next_time(manifest: SqliteManifest) -> None:
    touched = _entry(version="stat:2")
    assert manifest.unchanged([touched]) == [False]
    assert manifest.same_content(touched, CHECKSUM)
    assert manifest.unchanged([touched]) == [True]


def test_other_content_does_not_become_proven(manifest: SqliteManifest) -> None:
    changed = _entry(version="stat:2")
    assert not manifest.same_content(changed, "sha256:" + "1" * 64)
    assert manifest.unchanged([changed]) == [False]


def test_what_was_not_met_is_missing_until_forgotten(manifest: SqliteManifest) -> None:
    manifest.unchanged([_entry()])
    assert manifest.missing() == ["b.py"]
    manifest.forget(["b.py"])
    assert manifest.missing() == []


def test_scopes_do_not_see_each_other(manifest: SqliteManifest, tmp_path: Path) -> None:
    with closing(SqliteManifest(tmp_path / "manifest.sqlite", "log/other")) as other:
        assert other.unchanged([_entry()]) == [False]
        assert other.missing() == []
