"""An agent ends in time whatever Kafka does: table of states, each ended by one SIGTERM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.brokers.kafka.start import ApacheKafka
from tests.servers.kafka import GROUP
from tests.servers.ports import free_ports

GRACE_S = 3
LIMIT_S = GRACE_S + 5

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group(GROUP)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    cluster = ApacheKafka(tmp_path_factory.mktemp("kafka"))
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def an_agent(home: Path, servers: str, *flags: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """An agent as a process of its own, and the port of its HTTP server."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "archon_agent", "run", "--http", f"127.0.0.1:{port}", *flags]
    environment = os.environ | {
        "ARCHON_HOME": str(home),
        "ARCHON_KAFKA_SERVERS": servers,
        "ARCHON_CREATE_TOPICS": "true",
        "ARCHON_AGENT_GRACE": f"{GRACE_S}s",
        "ARCHON_AGENT_WORKERS": "1",
    }
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, port
        finally:
            process.kill()


def is_ready(port: int) -> bool:
    with suppress(OSError, urllib.error.URLError):
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).status == 200)
    return False


def is_served(port: int) -> bool:
    """Whether the process serves HTTP at all: it is past its start."""
    with suppress(OSError):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
        except urllib.error.HTTPError:
            return True
        return True
    return False


def wait_for(condition: Callable[[], bool], limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the agent did not get that far"
        time.sleep(0.1)


def assert_ends(process: subprocess.Popen[str]) -> None:
    """One SIGTERM ends the process with 0, within the limit."""
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, narration = process.communicate(timeout=LIMIT_S + 60)
    assert process.returncode == 0, narration
    assert time.monotonic() - started <= LIMIT_S, narration
    assert "Traceback" not in narration


@pytest.mark.parametrize("frozen", [False, True], ids=["answers", "hangs"])
def test_an_idle_agent(cluster: ApacheKafka, tmp_path: Path, frozen: bool) -> None:
    broker = cluster.nodes[0].process
    assert broker
    with an_agent(tmp_path, cluster.servers(), "--group", f"idle-{frozen}") as (process, port):
        wait_for(lambda: is_ready(port))
        if frozen:
            broker.send_signal(signal.SIGSTOP)
        try:
            assert_ends(process)
        finally:
            broker.send_signal(signal.SIGCONT)


def test_an_agent_that_waits_to_join(cluster: ApacheKafka, tmp_path: Path) -> None:
    """A member that was killed holds the group up until its session times out."""
    with an_agent(tmp_path / "first", cluster.servers(), "--group", "joining") as (process, port):
        wait_for(lambda: is_ready(port))
        process.kill()
    with an_agent(tmp_path / "second", cluster.servers(), "--group", "joining") as (process, port):
        wait_for(lambda: is_served(port))
        assert not is_ready(port)
        assert_ends(process)


def test_an_agent_at_its_start_when_the_broker_hangs(cluster: ApacheKafka, tmp_path: Path) -> None:
    broker = cluster.nodes[0].process
    assert broker
    broker.send_signal(signal.SIGSTOP)
    try:
        with an_agent(tmp_path, cluster.servers(), "--kafka-reach-timeout", "60s") as (process, _port):
            time.sleep(2)  # there is nothing to wait on: the agent itself waits
            assert_ends(process)
    finally:
        broker.send_signal(signal.SIGCONT)


def test_an_agent_whose_broker_is_gone(cluster: ApacheKafka, tmp_path: Path) -> None:
    with an_agent(tmp_path, cluster.servers(), "--group", "gone") as (process, port):
        wait_for(lambda: is_ready(port))
        cluster.stop_node(cluster.nodes[0])
        try:
            assert_ends(process)
        finally:
            cluster.start_node(cluster.nodes[0])
