"""The manifest remembers per scope what was published, and what of it this run did not meet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.manifest import Published, SqliteManifest
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


def test_it_tells_what_was_published(manifest: SqliteManifest) -> None:
    entries = [_entry(version="stat:2"), _entry("b.py"), _entry("c.py")]
    assert manifest.published(entries) == [Published(CHECKSUM, "stat:1"), Published(CHECKSUM, None), None]


def test_a_file_read_and_found_the_same_has_its_new_version(manifest: SqliteManifest) -> None:
    manifest.verified(_entry(version="stat:2"))
    manifest.verified(_entry("b.py", None))
    assert manifest.published([_entry()]) == [Published(CHECKSUM, "stat:2")]


def test_publishing_again_replaces(manifest: SqliteManifest) -> None:
    manifest.record([(_facts(_entry(version="stat:3")), None)])
    assert manifest.published([_entry()]) == [Published(None, "stat:3")]


def test_a_path_of_any_bytes_is_a_key(manifest: SqliteManifest) -> None:
    odd = _entry("caf\udce9.py")
    manifest.record([(_facts(odd), CHECKSUM)])
    assert manifest.published([odd, _entry("café.py")]) == [Published(CHECKSUM, "stat:1"), None]
    assert manifest.missing() == ["a.py", "b.py"]


def test_what_was_not_met_is_missing_until_forgotten(manifest: SqliteManifest) -> None:
    manifest.published([_entry()])
    assert manifest.missing() == ["b.py"]
    manifest.hidden("b.py")
    assert manifest.missing() == []


@pytest.mark.parametrize(
    ("hidden", "missing"),
    [
        ("pkg", ["a.py", "b.py", "pkg.py"]),
        ("pkg/sub", ["a.py", "b.py", "pkg.py", "pkg/x.py"]),
        ("pkg/su", ["a.py", "b.py", "pkg.py", "pkg/sub/y.py", "pkg/x.py"]),
        (".", []),
    ],
)
def test_what_lies_below_a_hidden_directory_is_not_missing(
    manifest: SqliteManifest, hidden: str, missing: list[str]
) -> None:
    manifest.record([(_facts(_entry(path)), CHECKSUM) for path in ("pkg/x.py", "pkg/sub/y.py", "pkg.py")])
    manifest.hidden(hidden)
    assert manifest.missing() == missing


def test_forgotten_paths_are_published_no_more(manifest: SqliteManifest) -> None:
    manifest.published([_entry()])
    manifest.forget(["b.py"])
    assert manifest.missing() == []


def test_scopes_do_not_see_each_other(manifest: SqliteManifest, tmp_path: Path) -> None:
    with closing(SqliteManifest(tmp_path / "manifest.sqlite", "log/other")) as other:
        assert other.published([_entry()]) == [None]
        assert other.missing() == []


def test_the_newest_event_is_kept_for_the_next_run(manifest: SqliteManifest, tmp_path: Path) -> None:
    assert manifest.newest() is None
    for at in (datetime(2026, 1, 5, 0, 0, 0, 7, UTC), datetime(2026, 1, 6, tzinfo=UTC)):
        manifest.acknowledged(at)
        with closing(SqliteManifest(tmp_path / "manifest.sqlite", "log/project")) as later:
            assert later.newest() == at
    with closing(SqliteManifest(tmp_path / "manifest.sqlite", "log/other")) as other:
        assert other.newest() is None
