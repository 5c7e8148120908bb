"""Log lines: JSON where no person watches, with the job they are about, without secrets."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from archon_agent.logs import configure
from core.safety.redact import register_secret
from core.telemetry.log_context import log_fields, logging_with
from core.telemetry.log_repeats import Repeats

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


def test_a_library_that_repeats_itself_is_heard_once_and_counted() -> None:
    now = [0.0]
    repeats = Repeats(("aiokafka",), every_s=30, clock=lambda: now[0])

    def passed(name: str, message: str, *args: object) -> str | None:
        record = logging.LogRecord(name, logging.ERROR, __file__, 1, message, args, None)
        return record.getMessage() if repeats.filter(record) else None

    assert passed("aiokafka.conn", "no node %d", 1) == "no node 1"
    assert passed("aiokafka.conn", "no node %d", 2) is None
    assert passed("aiokafka.conn", "another matter") == "another matter"
    assert passed("core.consumer", "no node %d", 1) == passed("core.consumer", "no node %d", 1)
    now[0] = 31
    assert passed("aiokafka.conn", "no node %d", 3) == "no node 3 (and 1 more like it)"


def test_a_library_writes_no_traceback() -> None:
    repeats = Repeats(("aiohttp",))
    try:
        raise ValueError("bad request")
    except ValueError:
        record = logging.LogRecord("aiohttp.server", 40, __file__, 1, "Error handling", (), sys.exc_info())
    assert repeats.filter(record)
    assert (record.exc_info, record.getMessage()) == (None, "Error handling: ValueError('bad request')")
