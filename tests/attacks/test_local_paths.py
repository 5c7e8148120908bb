"""v1 events name paths of this machine: only files inside the allowed directories are ever read."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from core.assembly.consuming import local_roots
from core.assembly.ingesting import ingest
from core.assembly.source import Target
from core.errors import ArchonError
from core.events.request import Carrier, IndexRequest, RequestedFile
from core.fetchers.base import Fetched
from core.fetchers.local_path import LocalPathFetcher
from core.settings import load
from tests.requests import request_for

SECRET = b"the secret of another directory"


def asked_for(project: Path | str, path: str) -> IndexRequest:
    return request_for_project(str(project), RequestedFile(path, Carrier.LOCAL_PATH))


def request_for_project(project: str, file: RequestedFile) -> IndexRequest:
    return replace(request_for(file), project_path=project)


async def read(roots: Sequence[Path], project: Path | str, path: str) -> Fetched | ArchonError | str:
    fetcher = LocalPathFetcher(lambda: roots, max_bytes=1 << 20)
    request = asked_for(project, path)
    if refusal := fetcher.refuses(request, request.files[0]):
        return refusal
    (answer,) = await fetcher.fetch_many(request, request.files)
    return answer


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    """A root with a project in it, and a directory beside it that nobody may read."""
    (tmp_path / "root" / "project" / "src").mkdir(parents=True)
    (tmp_path / "root" / "project" / "src" / "a.py").write_bytes(b"x = 1\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.py").write_bytes(SECRET)
    return tmp_path / "root"


async def test_a_file_inside_the_root_is_read(roots: Path) -> None:
    answer = await read([roots], roots / "project", "src/a.py")
    assert isinstance(answer, Fetched)
    assert answer.content == b"x = 1\n"


async def test_a_root_behind_a_link_is_read(roots: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(roots)
    for project in (tmp_path / "link" / "project", roots / "project"):
        assert isinstance(await read([tmp_path / "link"], project, "src/a.py"), Fetched)


@pytest.mark.parametrize("where", ["project", "directory", "file", "within"])
async def test_no_link_leads_out_of_the_root(roots: Path, tmp_path: Path, where: str) -> None:
    outside = tmp_path / "outside"
    match where:
        case "project":
            (roots / "linked").symlink_to(outside)
            answer = await read([roots], roots / "linked", "secret.py")
        case "within":
            (roots / "nested").mkdir()
            (roots / "nested" / "linked").symlink_to(outside)
            answer = await read([roots], roots / "nested" / "linked", "secret.py")
        case "directory":
            (roots / "project" / "linked").symlink_to(outside)
            answer = await read([roots], roots / "project", "linked/secret.py")
        case _:
            (roots / "project" / "linked.py").symlink_to(outside / "secret.py")
            answer = await read([roots], roots / "project", "linked.py")
    assert isinstance(answer, ArchonError)
    assert answer.reason in ("unsafe_input", "content_missing")


async def test_a_directory_that_becomes_a_link_while_it_is_read_leads_nowhere(
    roots: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside" / "a.py").write_bytes(SECRET)
    src, aside = roots / "project" / "src", roots / "project" / "aside"
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            src.rename(aside)
            src.symlink_to(tmp_path / "outside")
            src.unlink()
            aside.rename(src)

    swapping = asyncio.create_task(asyncio.to_thread(swap))
    try:
        answers = [await read([roots], roots / "project", "src/a.py") for _ in range(500)]
    finally:
        done.set()
        await swapping
    contents = {answer.content for answer in answers if isinstance(answer, Fetched)}
    assert contents <= {b"x = 1\n"}
    assert any(isinstance(answer, ArchonError) for answer in answers), "the swap was met"


@pytest.mark.parametrize("project", ["../outside", "project/../../outside", "/etc", "outside"])
async def test_no_project_path_leads_out_of_the_root(roots: Path, project: str) -> None:
    where = project if project.startswith("/") else f"{roots}/{project}"
    answer = await read([roots], where, "secret.py")
    assert not isinstance(answer, Fetched)


@pytest.mark.parametrize(
    ("root", "project", "path"),
    [("/", "/proc/self", "environ"), ("/", "/", "proc/self/environ"), ("/proc", "/proc/self", "environ"),
     ("/", "/sys", "kernel/notes"), ("/", "/dev", "zero")],
)  # fmt: skip
async def test_what_the_kernel_shows_as_files_is_never_read(root: str, project: str, path: str) -> None:
    assert not isinstance(await read([Path(root)], project, path), Fetched)


async def test_a_link_to_a_process_is_not_a_root(tmp_path: Path) -> None:
    (tmp_path / "root").symlink_to(f"/proc/{os.getpid()}")
    assert not isinstance(await read([tmp_path / "root"], tmp_path / "root", "environ"), Fetched)


async def test_by_default_only_what_was_ingested_here_is_a_root(roots: Path, tmp_path: Path) -> None:
    settings = load({"home": tmp_path / "home", "history.enabled": False}, environ={}).settings
    allowed = local_roots(settings)
    assert list(allowed()) == []
    await ingest(settings, Target(roots / "project"), asyncio.Event())
    assert list(allowed()) == [roots / "project"]
    on_kafka = load({"home": tmp_path / "home", "kafka.servers": "k:9092"}, environ={}).settings
    assert list(local_roots(on_kafka)()) == []
