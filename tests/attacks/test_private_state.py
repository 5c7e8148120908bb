"""Nobody else on the machine reads or replaces what archon keeps, whatever the umask."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from archon_tui import logs
from archon_tui.chosen import chosen
from archon_tui.models.repos import Recent
from core.assembly.ingesting import ingest
from core.assembly.source import Target
from core.assembly.stores import open_content_cache, open_index, open_log
from core.errors import ConfigurationError
from core.safety.private import claim_private, write_private
from core.settings import Settings, load


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"home": tmp_path / "not" / "there" / "yet"}, environ={}).settings


def _open_to_others(top: Path) -> list[Path]:
    return [path for path in [top, *top.rglob("*")] if stat.S_IMODE(path.stat().st_mode) & 0o077]


async def test_no_file_and_no_directory_of_the_state_is_open_to_others(
    settings: Settings, tmp_path: Path, open_umask: None
) -> None:
    repository = tmp_path / "app"
    repository.mkdir()
    (repository / "a.py").write_text("a = 1\n")
    (repository / "large.py").write_text("a = 1\n" * 30_000)
    summary, _ = await ingest(settings, Target(repository), asyncio.Event())
    assert summary.files_published == 2
    async with open_index(settings), open_log(settings):
        pass
    cache = open_content_cache(settings)
    assert cache
    cache.close()
    write_private(settings.data_dir / "x", "text")
    found = list((tmp_path / "not").rglob("*"))
    assert {"log.sqlite", "manifest.sqlite", "results.sqlite", "journals"} <= {path.name for path in found}
    assert _open_to_others(tmp_path / "not") == []


def test_what_the_dashboard_keeps_is_not_open_to_others(tmp_path: Path, open_umask: None) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        logs.configure(tmp_path / "state" / "dashboard.log")
        logging.getLogger("x").warning("a warning")
        root.handlers[0].close()
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.captureWarnings(False)
        logging.raiseExceptions = True
    Recent(tmp_path / "state" / "recent.json").add(chosen("/src/app"))
    assert len(list((tmp_path / "state").iterdir())) == 2
    assert _open_to_others(tmp_path / "state") == []


async def test_a_state_directory_that_an_older_archon_left_open_is_closed(settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True)
    settings.data_dir.chmod(0o777)
    async with open_log(settings):
        pass
    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700


def test_a_state_directory_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(theirs, 54321, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigurationError, match="another user") as refused:
        claim_private(theirs)
    assert "ARCHON_HOME" in (refused.value.hint or "")
