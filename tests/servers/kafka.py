"""The broker that judges the Kafka tests: Apache Kafka, or another one where it cannot run.

`ARCHON_TEST_KAFKA=host:port` points the tests at any broker. Without Java or Maven they run against one
that comes as a Python wheel. The report says which broker judged how many tests.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from core.settings.kafka import KafkaSettings
from tests.brokers.kafka import start as apache
from tests.brokers.noida import Noida

GROUP = "kafka"
"""The xdist group of every test that needs the broker: one worker, one broker."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker: its name for the report, its plain listener, the whole of it where it is ours, and
    whether its groups rebalance as Kafka's do."""

    name: str
    servers: str
    apache: apache.ApacheKafka | None = None
    rebalances: bool = True

    def settings(self, **changes: Any) -> KafkaSettings:
        """Settings that reach it, patient enough for a busy machine."""
        return KafkaSettings(**{"servers": self.servers, "reach_timeout": "20s", **changes})


@pytest.fixture(scope="session")
def _kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    if address := os.environ.get("ARCHON_TEST_KAFKA"):
        yield Broker(f"ARCHON_TEST_KAFKA={address}", address)
        return
    directory = tmp_path_factory.mktemp("kafka")
    if missing := _lacking():
        noida = Noida(directory)
        try:
            noida.start()
            yield Broker(f"noida-db, for want of {' and '.join(missing)}", noida.servers, rebalances=False)
        finally:
            noida.stop()
        return
    cluster = apache.ApacheKafka(directory)
    try:
        cluster.start()
        yield Broker(f"Apache Kafka {apache.version()}", cluster.servers(), cluster)
    finally:
        cluster.stop()


def _lacking() -> list[str]:
    """What Apache Kafka needs and this machine has not; CI has everything, or fails."""
    missing = apache.missing_programs()
    if not missing:
        try:
            apache.resolve_jars()
        except subprocess.SubprocessError:
            missing = ["Maven's repository"]
    if missing and os.environ.get("CI"):
        raise RuntimeError(f"CI judges by Apache Kafka, and there is no {' and no '.join(missing)}")
    return missing


@pytest.fixture
def kafka(_kafka: Broker, record_property: Any) -> Broker:
    """The broker of this session."""
    record_property("broker", _kafka.name)
    return _kafka


@pytest.fixture
def kafka_groups(kafka: Broker) -> Broker:
    """A broker whose groups rebalance as Kafka's do."""
    if not kafka.rebalances:
        pytest.skip(f"needs a broker that evicts members and lets them commit meanwhile, not {kafka.name}")
    return kafka


@pytest.fixture
def apache_kafka(kafka: Broker) -> apache.ApacheKafka:
    """Apache Kafka with all its listeners, for tests of TLS, SASL, ACLs and proxies."""
    if kafka.apache is None:
        pytest.skip(f"needs Apache Kafka with its listeners (Java 17 and Maven); judged by {kafka.name}")
    return kafka.apache


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which broker judged how many tests."""
    judged: dict[str, int] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                for name, value in getattr(report, "user_properties", ()):
                    if name == "broker":
                        judged[value] = judged.get(value, 0) + 1
    for broker, count in judged.items():
        terminalreporter.write_line(f"kafka: {count} tests judged by {broker}")
