"""A container's user often has no home directory: neither HOME nor a passwd entry."""

from __future__ import annotations

import asyncio
import pwd
from pathlib import Path

import pytest

from core.assembly.ingesting import ingest
from core.assembly.source import Target
from core.errors import ConfigurationError
from core.settings import load
from tests.repositories import git


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working directory of a user without a home; it has a directory that is called `~`."""

    def unknown(_: int) -> pwd.struct_passwd:
        raise KeyError

    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "ARCHON_HOME"):
        monkeypatch.delenv(name, raising=False)
    place = tmp_path / "place"
    (place / "~/.config/git").mkdir(parents=True)
    (place / "~/.config/git/ignore").write_text("*.py\n")
    (place / "~/.gitconfig").write_text("this is no configuration\n")
    (place / "~/.config/archon").mkdir()
    (place / "~/.config/archon/archon.toml").write_text("this is no configuration\n")
    monkeypatch.chdir(place)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    return place


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "app"
    path.mkdir()
    git(path, "init", "-q")
    (path / "a.py").write_text("a = 1\n")
    git(path, "add", ".")
    git(path, "commit", "-qm", "first")
    return path


@pytest.mark.parametrize("untracked", [False, True])
async def test_an_ingestion_needs_no_home_directory(
    repository: Path, homeless: Path, tmp_path: Path, untracked: bool
) -> None:
    given = {"home": tmp_path / "state", "publish.include_untracked": untracked}
    settings = load(given, environ={}).settings
    summary, _ = await ingest(settings, Target(repository), asyncio.Event())
    assert (summary.files_published, summary.faults) == (1, [])
    assert not (homeless / "~/.local").exists()


def test_without_a_home_directory_the_state_has_no_place(homeless: Path) -> None:
    settings = load(environ={}).settings
    with pytest.raises(ConfigurationError, match="no home directory") as refused:
        _ = settings.data_dir
    assert "ARCHON_HOME" in (refused.value.hint or "")
