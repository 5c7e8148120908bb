"""`storage` and `cache` as their user meets them: output, questions, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.repositories import commit
from tests.servers.ports import free_port
from tests.servers.s3 import S3Server

ROOT = Path(__file__).parents[2]
DAY = 24 * 3600


class Agent:
    """Runs commands with their state in one home, and nothing of the machine's own settings."""

    def __init__(self, home: Path, **environ: str) -> None:
        self.home = home
        foreign = ("ARCHON_", "CONTENT_", "AWS_")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(foreign)},
            "ARCHON_HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            **environ,
        }

    def run(self, *arguments: str | Path, answer: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "archon_agent", *map(str, arguments)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, input=answer)

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    @property
    def objects(self) -> list[Path]:
        return sorted((self.home / "data" / "objects").glob("*/projects/*/*"))


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path / "home")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return commit(tmp_path / "shop", {"a.py": b"x = 1\n", "big.dat": os.urandom(200_000)})


def age(path: Path, seconds: float) -> None:
    when = time.time() - seconds
    os.utime(path, (when, when))


def test_local_storage_needs_no_setup(agent: Agent) -> None:
    assert agent.json("storage", "check") == {"bucket": "local bucket local", "usable": True, "findings": []}
    done = agent.run("storage", "setup", "--yes")
    assert (done.returncode, done.stdout) == (0, "✓ local bucket local: can be used\n")


def test_setup_asks_first(agent: Agent) -> None:
    done = agent.run("storage", "setup", answer="n\n")
    assert done.returncode == 130
    assert "set up local bucket local?" in done.stderr
    assert not done.stdout.strip()


def test_no_storage_is_said(agent: Agent) -> None:
    done = agent.run("storage", "check", "--storage-provider", "none")
    assert done.returncode == 3
    assert "no object storage is configured" in done.stderr


@pytest.mark.slow
def test_garbage_is_what_no_event_needs(agent: Agent, repository: Path) -> None:
    agent.json("ingest", repository)
    (needed,) = agent.objects
    orphan = needed.with_name("0" * 64 + ".dat")
    orphan.write_bytes(b"left by a crash")
    assert agent.json("storage", "gc", "--dry-run")["young"] == 1
    for path in (needed, orphan):
        age(path, 3 * DAY)

    dry = agent.json("storage", "gc", "--dry-run")
    assert (dry["objects"], dry["referenced"], dry["garbage"], dry["bytes"], dry["removed"]) == (
        2,
        1,
        1,
        15,
        0,
    )
    assert agent.objects == [orphan, needed]

    refused = agent.run("storage", "gc", answer="n\n")
    assert refused.returncode == 130
    assert "remove 1 objects (15 B) for ever?" in refused.stderr
    assert agent.objects == [orphan, needed]

    assert agent.json("storage", "gc", "--yes")["removed"] == 1
    assert agent.objects == [needed]
    assert agent.json("run", "--drain")["files_processed"] == 2


def test_gc_refuses_a_log_that_knows_nothing(agent: Agent) -> None:
    done = agent.run("storage", "gc", "--yes")
    assert done.returncode == 2
    assert "the log holds no event" in done.stderr


@pytest.mark.slow
def test_a_bucket_from_setup_to_ingest(ministack: S3Server, tmp_path: Path, repository: Path) -> None:
    agent = Agent(
        tmp_path / "home",
        **ministack.environ(),
        CONTENT_STORAGE_PROVIDER="s3",
        CONTENT_STORAGE_BUCKET=f"commands-{uuid.uuid4().hex[:12]}",
        CONTENT_STORAGE_REGION="us-east-1",
        CONTENT_STORAGE_ENDPOINT=ministack.endpoint,
        ARCHON_STORAGE_ALLOW_HTTP="true",
    )
    missing = agent.run("ingest", repository)
    assert missing.returncode == 3
    assert "archon-agent storage setup" in missing.stderr
    assert len(missing.stderr.strip().splitlines()) == 1

    assert {found["state"] for found in agent.json("storage", "setup", "--yes")["findings"]} == {"ok"}
    assert agent.json("ingest", repository)["by_strategy"]["object_storage"]["files"] == 1
    assert agent.json("run", "--drain")["by_source"] == {"inline": 1, "object_storage": 1}
    stats = agent.json("cache", "stats")["object"]
    assert (stats["entries"], stats["bytes"], stats["misses"]) == (1, 200_000, {"absent": 1})

    wrong = agent.json("storage", "check", "--storage-retention", "7d", code=1)
    assert {found["name"]: found["state"] for found in wrong["findings"]}["lifecycle"] == "wrong"
    table = agent.run("storage", "check", "--storage-retention", "7d")
    assert "! lifecycle: wrong, not objects expire after 7 days" in table.stdout
    assert "storage setup makes it so" in table.stderr
    secrets = [ministack.secret_key, "X-Amz-Signature"]
    assert not [each for each in secrets if each in f"{table.stdout}{table.stderr}{missing.stderr}"]

    (entry,) = (agent.home / "cache" / "content" / "objects").glob("*/*")
    entry.write_bytes(b"damaged")
    assert agent.json("cache", "verify", code=1)["object"]["corrupt"] == 1
    assert agent.json("cache", "verify")["object"]["entries"] == 0
    assert agent.json("cache", "stats")["object"]["corruptions"] == 1


@pytest.mark.slow
def test_nobody_at_the_endpoint_is_exit_4(tmp_path: Path, repository: Path) -> None:
    agent = Agent(
        tmp_path / "home",
        AWS_ACCESS_KEY_ID="somebody",
        AWS_SECRET_ACCESS_KEY="never-to-be-seen",
        CONTENT_STORAGE_PROVIDER="minio",
        CONTENT_STORAGE_BUCKET="b",
        CONTENT_STORAGE_ENDPOINT=f"http://127.0.0.1:{free_port()}",
        ARCHON_STORAGE_ALLOW_HTTP="true",
    )
    for command in (["storage", "check"], ["ingest", repository]):
        done = agent.run(*command)
        assert done.returncode == 4, done.stderr
        assert "CONTENT_STORAGE_ENDPOINT" in done.stderr
        assert "never-to-be-seen" not in done.stderr


def test_the_cache_can_be_looked_at_and_emptied(agent: Agent) -> None:
    assert "0 B of 10.0 GB" in agent.run("cache", "stats").stdout
    assert agent.json("cache", "clear", "--yes") == {
        "removed": {name: {"entries": 0, "bytes": 0} for name in ("object", "git")},
        "dry_run": False,
    }
    unknown = agent.run("cache", "stats", "--type", "tape")
    assert unknown.returncode == 2
    assert "there is no tape cache" in unknown.stderr
    off = agent.run("cache", "stats", "--cache-max-size-gb", "0", "--type", "object")
    assert off.returncode == 2
