"""A network of containers: Apache Kafka and an S3 server for the agent to meet by name."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.brokers.kafka import start as apache
from tests.container.podman import PYTHON_IMAGE, Container, get, podman

ACCESS_KEY, SECRET_KEY = "container-test", "container-test-secret"
KAFKA_PORT, OUTSIDE_PORT, S3_PORT = 9092, 19092, 8333


@dataclass(frozen=True, slots=True)
class Network:
    """A network without a way out; `kafka` and `s3` are addresses as this machine reaches them."""

    name: str
    kafka: str
    s3: str
    kafka_container: Container


@contextmanager
def network(directory: Path) -> Iterator[Network]:
    """The network with its Kafka and S3, removed at the end."""
    name = f"archon-test-{os.getpid()}"
    podman("network", "create", "--internal", name)
    started: list[Container] = []
    try:
        (found,) = json.loads(podman("network", "inspect", name))
        hosts = list(ipaddress.ip_network(found["subnets"][0]["subnet"]).hosts())
        kafka, s3 = str(hosts[9]), str(hosts[10])
        started += [_kafka(name, kafka, directory), _s3(name, s3, directory)]
        started[0].wait_until(lambda: "Kafka Server started" in started[0].logs(), "up")
        # Without a signature it refuses: that is how it says that it is up.
        started[1].wait_until(lambda: get(f"http://{s3}:{S3_PORT}/")[0] == 403, "up")
        yield Network(name, f"{kafka}:{OUTSIDE_PORT}", f"http://{s3}:{S3_PORT}", started[0])
    finally:
        for container in started:
            container.remove()
        podman("network", "rm", "--force", name, check=False)


def _kafka(network_name: str, address: str, directory: Path) -> Container:
    """One node, with a listener for the containers and one for this machine."""
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": "1@localhost:9093",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "INSIDE",
        "listeners": f"INSIDE://:{KAFKA_PORT},OUTSIDE://:{OUTSIDE_PORT},CONTROLLER://localhost:9093",
        "advertised.listeners": f"INSIDE://kafka:{KAFKA_PORT},OUTSIDE://{address}:{OUTSIDE_PORT}",
        "listener.security.protocol.map": "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": "/var/lib/kafka",
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "log.cleaner.dedupe.buffer.size": 8 << 20,
    }
    (directory / "server.properties").write_text(
        "".join(f"{key}={value}\n" for key, value in settings.items())
    )
    java = Path(shutil.which("java") or "java").resolve().parents[1]
    run = (
        "java -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
        " -Dlog4j2.configurationFile=/etc/kafka/log4j2.properties -cp '/opt/kafka/*'"
    )
    cluster = urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")
    script = (
        f"{run} kafka.tools.StorageTool format -t {cluster} -c /etc/kafka/server.properties"
        f" && exec {run} kafka.Kafka /etc/kafka/server.properties"
    )
    volumes = {
        java: java,
        Path("/etc/java-17-openjdk"): Path("/etc/java-17-openjdk"),
        apache.resolve_jars(): Path("/opt/kafka"),
        directory / "server.properties": Path("/etc/kafka/server.properties"),
        apache.HERE / "log4j2.properties": Path("/etc/kafka/log4j2.properties"),
    }
    mounts = [f"--volume={here}:{there}:ro" for here, there in volumes.items() if here.exists()]
    return Container(
        f"{network_name}-kafka",
        f"--network={network_name}:ip={address},alias=kafka",
        *mounts,
        f"--env=PATH={java}/bin:/usr/bin:/bin",
        PYTHON_IMAGE,
        "sh",
        "-c",
        script,
    )


def _s3(network_name: str, address: str, directory: Path) -> Container:
    """SeaweedFS with its S3 gateway."""
    identity = {
        "name": "test",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    weed = Path(sys.executable).parent / "weed"
    return Container(
        f"{network_name}-s3",
        f"--network={network_name}:ip={address},alias=s3",
        f"--volume={weed.resolve()}:/usr/local/bin/weed:ro",
        f"--volume={directory / 's3.json'}:/etc/s3.json:ro",
        f"--env=WEED_S3_SSE_KEY={'0f' * 32}",
        "--tmpfs=/data:rw,size=512m",
        PYTHON_IMAGE,
        "weed",
        "server",
        f"-ip={address}",
        "-dir=/data",
        "-filer",
        "-s3",
        f"-s3.port={S3_PORT}",
        "-s3.port.iceberg=0",
        "-s3.config=/etc/s3.json",
        "-master.volumeSizeLimitMB=16",
        "-volume.max=20",
    )
