"""The agent as production runs it: no volume, read-only, no capabilities, not root, little memory."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import boto3
import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.assembly.stores import open_log
from core.events.topics import FILE_INTELLIGENCE
from core.settings import Settings, load
from core.settings.storage import StorageSettings
from tests.container import neighbours
from tests.container.neighbours import Network
from tests.container.podman import PYTHON_IMAGE, Container, get, podman
from tests.repositories import commit

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("container"), pytest.mark.timeout(600)]

GRACE_S = 20
# On top of the Python image, whose size is somebody else's.
MOST_ADDED_BYTES = 170_000_000
CONFINED = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--tmpfs=/var/lib/archon:rw,size=64m,mode=1777,noexec,nosuid,nodev",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=384m",
    "--pids-limit=128",
)

Start = Callable[..., Container]


@pytest.fixture
def settings(network: Network, tmp_path: Path) -> Settings:
    """A publisher outside the network; topics of its own keep the tests apart."""
    flags = {"home": tmp_path / "home", "kafka.servers": network.kafka, "kafka.create_topics": True}
    return load({**flags, "publish.batch_size": 10}, environ={}).settings


@pytest.fixture
def start(network: Network, agent_image: str) -> Iterator[Start]:
    started: list[Container] = []

    def run(**environment: str) -> Container:
        given = {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092", "ARCHON_INDEX": "false", **environment}
        options = [f"--env={name}={value}" for name, value in given.items()]
        name = f"{network.name}-agent-{uuid4().hex[:8]}"
        started.append(Container(name, f"--network={network.name}", *CONFINED, *options, agent_image))
        return started[-1]

    yield run
    for container in started:
        container.remove()


def files(count: int, seed: int = 7) -> dict[str, bytes]:
    """Small sources, each different."""
    chance = random.Random(seed)
    return {
        f"pkg{number % 20}/mod{number}.py": (
            f"def f{number}(x):\n    if x > {chance.random()}:\n        return {number}\n    return None\n"
            * chance.randint(1, 40)
        ).encode()
        for number in range(count)
    }


async def publish(settings: Settings, project: str, repository: Path) -> int:
    async with ingestion(settings, Target(repository, project_name=project)) as job:
        summary = await job.publisher.publish(job.planner.stream())
    assert summary.refusal is None
    return summary.files_published


async def records(settings: Settings, project: str) -> AsyncIterator[tuple[str, str]]:
    """Path and checksum of every record that the agents published for the project."""
    async with open_log(settings) as log:
        async for message in log.browse(FILE_INTELLIGENCE):
            payload: dict[str, Any] = json.loads(message.value or b"{}")["payload"]
            if payload["project"] == project:
                yield payload["path"], payload["checksum"]


def expected(contents: Mapping[str, bytes]) -> Counter[tuple[str, str]]:
    return Counter(
        (path, f"sha256:{hashlib.sha256(content).hexdigest()}") for path, content in contents.items()
    )


def url(agent: Container, network: Network, path: str) -> str:
    address = agent.inspect(f"NetworkSettings.Networks.{network.name}.IPAddress")
    return f"http://{address}:9464{path}"


def metric(agent: Container, network: Network, name: str) -> float:
    """The sum of a metric's samples; 0 while nobody answers."""
    status, text = get(url(agent, network, "/metrics"))
    if status != 200:
        return 0.0
    families = text_string_to_metric_families(text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def processed(agent: Container, network: Network) -> float:
    return metric(agent, network, "archon_ingestion_files_total")


def test_the_image_is_small_and_holds_no_tools(agent_image: str) -> None:
    (image,) = json.loads(podman("image", "inspect", agent_image))
    (base,) = json.loads(podman("image", "inspect", PYTHON_IMAGE))
    added: int = image["Size"] - base["Size"]
    print(f"archon and its dependencies: {added / 1e6:.0f} MB")
    assert added < MOST_ADDED_BYTES
    config = image["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["/opt/archon/bin/archon-agent"]
    assert image["Healthcheck"]["Test"][0] == "CMD"
    found = podman(
        "run",
        "--rm",
        "--pull=never",
        "--network=none",
        "--entrypoint=sh",
        agent_image,
        "-c",
        "for tool in git gcc make; do command -v $tool; done; true",
    )
    assert found == ""


async def test_what_is_published_outside_comes_back_complete(
    settings: Settings, network: Network, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(3)
    contents = files(200) | {
        "blob.bin": chance.randbytes(90_000),
        "empty.txt": b"",
        "a/huge.py": b"x = 1\n" * 90_000,
    }
    contents |= {f"large{number}.bin": chance.randbytes(300_000) for number in range(3)}
    credentials = {"AWS_ACCESS_KEY_ID": neighbours.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": neighbours.SECRET_KEY}
    for name, value in credentials.items():
        monkeypatch.setenv(name, value)
    storage = {"provider": "minio", "bucket": "contents", "endpoint": network.s3, "allow_http": True}
    boto3.client("s3", endpoint_url=network.s3, region_name="us-east-1").create_bucket(Bucket="contents")
    chosen = settings.model_copy(update={"storage": StorageSettings(**storage)})
    await publish(chosen, "complete", commit(tmp_path / "repository", contents))
    agent = start(
        CONTENT_STORAGE_PROVIDER="minio",
        CONTENT_STORAGE_BUCKET="contents",
        CONTENT_STORAGE_ENDPOINT=network.s3,
        ARCHON_STORAGE_ALLOW_HTTP="true",
        ARCHON_STORAGE_LINK_NETWORKS=f"{urlsplit(network.s3).hostname}/32",
        **credentials,
    )
    agent.wait_until(lambda: processed(agent, network) == len(contents), "done")
    found = Counter([item async for item in records(settings, "complete")])
    assert found == expected(contents)

    assert metric(agent, network, "archon_storage_download_duration_seconds_count") == 4

    assert agent.inspect("Mounts") == []
    for path in ("/health", "/ready"):
        status, body = get(url(agent, network, path))
        assert (status, json.loads(body)["state"]) == (200, "ok"), body
    podman("healthcheck", "run", agent.name)
    assert agent.run("id", "-u") == "10001"
    assert "Read-only file system" in podman_error(agent, "touch", "/opt/archon/x")


def podman_error(agent: Container, *command: str) -> str:
    return agent.run("sh", "-c", f"{' '.join(command)} 2>&1; true")


async def test_sigterm_drains_and_nothing_comes_twice(
    settings: Settings, network: Network, start: Start, tmp_path: Path
) -> None:
    contents = files(3000)
    await publish(settings, "drained", commit(tmp_path / "repository", contents))
    first = start(ARCHON_AGENT_WORKERS="1")
    first.wait_until(lambda: processed(first, network) > 0, "at work")
    begun = time.monotonic()
    first.stop(GRACE_S)
    assert time.monotonic() - begun < GRACE_S
    assert first.exit_code == 0, first.logs()
    half = [item async for item in records(settings, "drained")]
    assert 0 < len(half) < len(contents)

    second = start()
    remaining = len(contents) - len(half)
    second.wait_until(lambda: processed(second, network) >= remaining, "done")
    assert Counter([item async for item in records(settings, "drained")]) == expected(contents)


async def test_kill_and_restart_lose_nothing(
    settings: Settings, network: Network, start: Start, tmp_path: Path
) -> None:
    contents = files(2000, seed=11)
    await publish(settings, "killed", commit(tmp_path / "repository", contents))
    agent = start(ARCHON_AGENT_WORKERS="1", ARCHON_KAFKA_SESSION_TIMEOUT="6s")
    agent.wait_until(lambda: processed(agent, network) > 0, "at work")
    agent.kill()
    half = {item async for item in records(settings, "killed")}
    assert len(half) < len(contents)
    agent.start()
    agent.wait_until(lambda: processed(agent, network) >= len(contents) - len(half), "done")
    assert {item async for item in records(settings, "killed")} == set(expected(contents))


async def test_without_kafka_it_is_not_ready_and_says_why(start: Start) -> None:
    agent = start(KAFKA_BOOTSTRAP_SERVERS="nowhere:9092")
    podman("wait", agent.name)
    assert agent.exit_code == 4
    assert "nowhere:9092" in agent.logs()


def test_the_doctor_names_what_a_read_only_container_lacks(agent_image: str) -> None:
    report = json.loads(
        podman(
            "run",
            "--rm",
            "--pull=never",
            "--network=none",
            "--read-only",
            "--read-only-tmpfs=false",
            agent_image,
            "doctor",
            "--json",
            check=False,
        )
    )
    failed = {check["name"]: check["hint"] for check in report["checks"] if check["state"] == "failed"}
    assert {"data disk", "process pool"} <= failed.keys()
    assert "TMPDIR" in failed["process pool"]
