"""Intelligence on request over the real fetchers and processes: sources, proofs, confinement."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.bridge import BridgeIntelligenceGenerator
from core.events.intelligence import BridgeIntelligenceRequest, BridgeIntelligenceResponse, FileIntelligence
from core.fetchers.inline import InlineFetcher
from core.fetchers.local_path import LocalPathFetcher
from core.fetchers.resolver import Resolver
from core.intelligence.pool import AnalyzerPool

SOURCE = 'def greet(name):\n    """Say hello."""\n    return name or "?"\n'


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one file, inside a root that agents may read; a secret lies beside the root."""
    (tmp_path / "secret.py").write_text("PASSWORD = 1\n")
    project = tmp_path / "root" / "project"
    project.mkdir(parents=True)
    (project / "greet.py").write_text(SOURCE)
    (project.parent / "other.py").write_text("x = 1\n")
    return project


@pytest.fixture
async def generator(project: Path) -> AsyncIterator[BridgeIntelligenceGenerator]:
    resolver = Resolver([InlineFetcher(), LocalPathFetcher(lambda: [project.parent], max_bytes=1 << 20)])
    async with AnalyzerPool(workers=1) as pool:
        yield BridgeIntelligenceGenerator(resolver, pool)


def record(response: BridgeIntelligenceResponse) -> FileIntelligence:
    assert response.success, response.error
    assert (response.error, response.error_reason) == (None, None)
    assert response.intelligence is not None
    return response.intelligence


async def test_content_is_preferred_to_the_path(
    generator: BridgeIntelligenceGenerator, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="core.bridge")
    request = BridgeIntelligenceRequest(
        file_path=str(project / "greet.py"),
        project_path=str(project),
        project_name="shop",
        content="def other(): pass\n",
        content_strategy="inline",
        correlation_id="run-1",
    )
    made = record(await generator.generate(request))
    assert [symbol.name for symbol in made.analysis.symbols] == ["other"]
    assert (made.project, made.path, made.correlation_id) == ("shop", "greet.py", "run-1")
    assert (made.content_source, made.checksum_verified) == ("inline", False)
    assert made.checksum == sha256(b"def other(): pass\n")
    assert caplog.messages == ["intelligence of greet.py from inline"]


async def test_empty_content_is_an_empty_file_and_not_a_path(
    generator: BridgeIntelligenceGenerator, project: Path
) -> None:
    request = BridgeIntelligenceRequest(file_path="greet.py", project_path=str(project), content="")
    made = record(await generator.generate(request))
    assert (made.content_source, made.size_bytes) == ("inline", 0)
    assert made.analysis.scores.quality.reason == "the file is empty"


@pytest.mark.parametrize("relative", [True, False])
async def test_without_content_the_path_is_read(
    generator: BridgeIntelligenceGenerator,
    project: Path,
    caplog: pytest.LogCaptureFixture,
    relative: bool,
) -> None:
    caplog.set_level(logging.INFO, logger="core.bridge")
    path = "greet.py" if relative else str(project / "greet.py")
    request = BridgeIntelligenceRequest(
        file_path=path, project_path=str(project), checksum=sha256(SOURCE.encode())
    )
    made = record(await generator.generate(request))
    assert [(symbol.name, symbol.complexity) for symbol in made.analysis.symbols] == [("greet", 2)]
    assert (made.path, made.content_source, made.checksum_verified) == ("greet.py", "local_path", True)
    assert caplog.messages == ["intelligence of greet.py from local_path"]


@pytest.mark.parametrize(
    ("content", "encoding", "raw"),
    [
        ("é = 1\n", "utf-8", "é = 1\n".encode()),
        ("é = 1\n", "latin-1", "é = 1\n".encode("latin-1")),
        (base64.b64encode("é = 1\n".encode("utf-16")).decode(), "base64", "é = 1\n".encode("utf-16")),
        (base64.b64encode(b"\0\1\2").decode(), "base64", b"\0\1\2"),
    ],
)
async def test_content_is_decoded_to_the_bytes_its_checksum_is_of(
    generator: BridgeIntelligenceGenerator, content: str, encoding: str, raw: bytes
) -> None:
    request = BridgeIntelligenceRequest.model_validate(
        {"file_path": "a.py", "content": content, "content_encoding": encoding, "checksum": sha256(raw)}
    )
    made = record(await generator.generate(request))
    assert (made.size_bytes, made.checksum_verified) == (len(raw), True)
    assert made.analysis.is_binary is (b"\0\1" in raw)


@pytest.mark.parametrize("content", [SOURCE, None])
async def test_a_wrong_checksum_is_refused_whatever_the_source(
    generator: BridgeIntelligenceGenerator, project: Path, content: str | None
) -> None:
    request = BridgeIntelligenceRequest(
        file_path="greet.py", project_path=str(project), content=content, checksum=sha256(b"something else")
    )
    response = await generator.generate(request)
    assert (response.success, response.error_reason) == (False, "checksum_mismatch")
    assert response.intelligence is None


async def test_content_that_is_not_what_its_encoding_says_is_refused(
    generator: BridgeIntelligenceGenerator,
) -> None:
    request = BridgeIntelligenceRequest(file_path="a.py", content="no base64!", content_encoding="base64")
    response = await generator.generate(request)
    assert (response.success, response.error_reason) == (False, "invalid_event")


@pytest.mark.parametrize(
    "path",
    [
        "../other.py",
        "../../secret.py",
        "a/../../../secret.py",
        "{root}/other.py",
        "{root}/project/../other.py",
        "/etc/passwd",
        "link.py",
        "linked/secret.py",
        "pipe",
        ".git/config",
        "greet.py\0",
        "",
    ],
)
async def test_no_path_leads_out_of_the_project(
    generator: BridgeIntelligenceGenerator, project: Path, path: str
) -> None:
    (project / "link.py").symlink_to(project.parent.parent / "secret.py")
    (project / "linked").symlink_to(project.parent.parent)
    (project / ".git").mkdir()
    (project / ".git" / "config").write_text("[core]\n")
    os.mkfifo(project / "pipe")
    request = BridgeIntelligenceRequest(
        file_path=path.replace("{root}", str(project.parent)), project_path=str(project)
    )
    response = await generator.generate(request)
    assert (response.success, response.intelligence) == (False, None)
    assert response.error_reason in {"unsafe_input", "content_missing"}


async def test_a_project_outside_the_roots_is_not_read(
    generator: BridgeIntelligenceGenerator, project: Path
) -> None:
    outside = str(project.parent.parent)
    request = BridgeIntelligenceRequest(file_path="secret.py", project_path=outside)
    assert (await generator.generate(request)).success is False
    sneaky = BridgeIntelligenceRequest(file_path="secret.py", project_path=f"{project}/../..")
    assert (await generator.generate(sneaky)).success is False


@pytest.mark.parametrize("project_path", [None, "project"])
async def test_without_content_and_a_project_there_is_nothing_to_read(
    generator: BridgeIntelligenceGenerator, project_path: str | None
) -> None:
    request = BridgeIntelligenceRequest(file_path="greet.py", project_path=project_path)
    response = await generator.generate(request)
    assert (response.success, response.error_reason) == (False, "content_missing")


async def test_a_file_that_is_gone_is_missing_content(
    generator: BridgeIntelligenceGenerator, project: Path
) -> None:
    request = BridgeIntelligenceRequest(file_path="gone.py", project_path=str(project))
    response = await generator.generate(request)
    assert (response.success, response.error_reason) == (False, "content_missing")
