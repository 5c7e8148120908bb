"""Log lines: JSON where no person watches, with the job they are about, without secrets."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Iterator

import pytest

from archon_agent.logs import configure
from core.safety.redact import register_secret
from core.telemetry.log_context import log_fields, logging_with

SECRET = "canary-4711-canary"
logger = logging.getLogger("core.test")


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_lines_are_json_and_say_what_they_are_about(capsys: pytest.CaptureFixture[str]) -> None:
    configure(as_json=True)
    with logging_with(correlation_id="job-1", trace_id="abc"):
        logger.warning("%d files", 3)
    logger.warning("done")
    first, second = lines(capsys)
    assert (first["event"], first["level"], first["logger"]) == ("3 files", "warning", "core.test")
    assert (first["correlation_id"], first["trace_id"]) == ("job-1", "abc")
    assert "correlation_id" not in second
    assert first["timestamp"].endswith("Z")


def test_terminals_get_readable_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure(as_json=False)
    with logging_with(correlation_id="job-1"):
        logger.warning("3 files")
    line = capsys.readouterr().err
    assert "3 files" in line
    assert "job-1" in line
    assert not line.startswith("{")


def test_secrets_and_signed_links_are_scrubbed_wherever_they_stand(
    capsys: pytest.CaptureFixture[str],
) -> None:
    register_secret(SECRET)
    configure(as_json=True)
    link = "https://b.s3.amazonaws.com/k?X-Amz-Signature=deadbeefdeadbeef&X-Amz-Date=20260101T000000Z"
    logger.warning("token %s as %s", SECRET, base64.b64encode(SECRET.encode()).decode())
    logger.warning("see %s", link)
    try:
        raise RuntimeError(f"refused {SECRET} for {link}")
    except RuntimeError:
        logger.exception("failed")
    text = capsys.readouterr().err
    assert len(text.splitlines()) == 3
    for needle in (SECRET, base64.b64encode(SECRET.encode()).decode(), "deadbeefdeadbeef"):
        assert needle not in text


async def test_concurrent_jobs_keep_their_fields_apart() -> None:
    together = asyncio.Barrier(2)

    async def job(name: str) -> str:
        with logging_with(correlation_id=name):
            await together.wait()
            return await asyncio.to_thread(lambda: log_fields()["correlation_id"])

    assert list(await asyncio.gather(job("a"), job("b"))) == ["a", "b"]
    assert log_fields() == {}
