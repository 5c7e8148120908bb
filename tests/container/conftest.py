"""The agent's image and its neighbours, once per session; skipped by name where podman cannot run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.brokers.kafka import start as apache
from tests.container import neighbours
from tests.container.podman import build_agent, obstacle, podman


@pytest.fixture(scope="session")
def agent_image() -> str:
    """The image, built from this work tree."""
    if reason := obstacle():
        pytest.skip(reason)
    return build_agent()


@pytest.fixture(scope="session")
def network(agent_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[neighbours.Network]:
    """A network without a way out, with Kafka and S3 on it."""
    if missing := apache.missing_programs():
        pytest.skip(f"needs {', '.join(missing)}")
    with neighbours.network(tmp_path_factory.mktemp("network")) as made:
        kafka = f"--env=KAFKA_BOOTSTRAP_SERVERS=kafka:{neighbours.KAFKA_PORT}"
        options = ("--rm", "--pull=never", "--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL")
        podman("run", *options, f"--network={made.name}", kafka, agent_image, "topics", "setup")
        yield made
