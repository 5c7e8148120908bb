"""Apache Kafka under test: KRaft nodes on loopback ports, with TLS, SASL, ACLs and a proxied listener.

Needs Java 17 and Maven. `python -m tests.brokers.kafka.start --nodes 3` runs a cluster until interrupted
and prints its listeners as JSON.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import xml.etree.ElementTree as ElementTree
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from uuid import uuid4

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.servers.ports import free_ports

HERE = Path(__file__).parent
BUILD = HERE.parents[2] / "build"
POM = HERE / "pom.xml"

USER, PASSWORD = "archon", "correct horse"
RESTRICTED_USER, RESTRICTED_PASSWORD = "restricted", "battery staple"
KEY_PASSWORD = "keyhole"

# Client-facing listeners: the protocol each speaks. PROXIED advertises a port where nothing listens
# until a test puts a proxy there.
LISTENERS = {
    "PLAIN": "PLAINTEXT",
    "PROXIED": "PLAINTEXT",
    "SASL": "SASL_PLAINTEXT",
    "TLS": "SSL",
    "MTLS": "SSL",
    "SASLTLS": "SASL_SSL",
}


def missing_programs() -> list[str]:
    """The programs this needs that are not installed."""
    return [name for name in ("java", "mvn") if not shutil.which(name)]


def version() -> str:
    """The version of Apache Kafka that pom.xml names."""
    found = ElementTree.parse(POM).find(".//{*}dependency/{*}version")  # noqa: S314 - our own file
    assert found is not None
    return str(found.text)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive file lock: several test processes resolve the jars once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def resolve_jars() -> Path:
    """The directory of the broker's runtime jars, brought by Maven the first time."""
    target = BUILD / f"kafka-{version()}"
    with locked(BUILD / "kafka.lock"):
        if not target.is_dir():
            partial = target.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            command = ["mvn", "--batch-mode", "--quiet", "-f", str(POM), "dependency:copy-dependencies"]
            subprocess.run(
                [*command, "-DincludeScope=runtime", f"-DoutputDirectory={partial}"],
                check=True,
                timeout=600,
            )
            partial.rename(target)
    return target


@dataclass(frozen=True)
class Certificates:
    """A test authority: PEM files of the broker, of a client, and of an authority that signed neither."""

    directory: Path

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def other_ca(self) -> Path:
        return self.directory / "other-ca.pem"

    @property
    def client(self) -> Path:
        return self.directory / "client.pem"

    @property
    def client_key(self) -> Path:
        return self.directory / "client-key.pem"

    def write(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca))
        trustme.CA().cert_pem.write_to_path(str(self.other_ca))
        server = authority.issue_cert("127.0.0.1", "localhost")
        key = load_pem_private_key(server.private_key_pem.bytes(), password=None)
        pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # what Java reads
        chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
        (self.directory / "server.pem").write_bytes(pkcs8 + chain)
        client = authority.issue_cert("client@archon.test", common_name="client")
        client.private_key_pem.write_to_path(str(self.client_key))
        for index, blob in enumerate(client.cert_chain_pems):
            blob.write_to_path(str(self.client), append=index > 0)


@dataclass
class Node:
    """One broker and controller."""

    node_id: int
    directory: Path
    ports: dict[str, int]
    advertised: dict[str, int]
    process: subprocess.Popen[str] | None = None
    told: threading.Event = field(default_factory=threading.Event)
    is_up: bool = False

    @property
    def log(self) -> Path:
        return self.directory / "server.log"


class ApacheKafka:
    """A cluster of `nodes`; its data stays in `directory` over `kill` and `start_node`."""

    def __init__(self, directory: Path, *, nodes: int = 1) -> None:
        self.directory = directory
        self.certificates = Certificates(directory / "certificates")
        # Not to begin with a dash, which the storage tool would take for an option.
        self.cluster_id = urlsafe_b64encode(b"\0" + uuid4().bytes[1:]).decode().rstrip("=")
        names = ["CONTROLLER", *LISTENERS, "ADVERTISED"]
        ports = free_ports(nodes * len(names))
        self.nodes = []
        for number in range(nodes):
            own = dict(zip(names, ports[number * len(names) :], strict=False))
            advertised = {name: own[name] for name in LISTENERS} | {"PROXIED": own.pop("ADVERTISED")}
            self.nodes.append(Node(number + 1, directory / f"node{number + 1}", own, advertised))

    def servers(self, listener: str = "PLAIN") -> str:
        """Bootstrap servers of `listener`, comma-separated."""
        return ",".join(f"127.0.0.1:{node.ports[listener]}" for node in self.nodes)

    def start(self, timeout_s: float = 60) -> None:
        """Format the storage and start every node."""
        self.certificates.write()
        for node in self.nodes:
            self._format(node)
            self._launch(node)
        for node in self.nodes:
            self._wait(node, timeout_s)

    def start_node(self, node: Node, timeout_s: float = 60) -> None:
        """Start a node that was killed or stopped, on the same ports and data."""
        self._launch(node)
        self._wait(node, timeout_s)

    def kill(self, node: Node) -> None:
        """End a node as by kill -9."""
        self._end(node, signal.SIGKILL)

    def stop_node(self, node: Node) -> None:
        """End a node in order (leadership moves, logs are flushed)."""
        self._end(node, signal.SIGTERM)

    def stop(self) -> None:
        """End every node at once; the data is for the bin."""
        for node in self.nodes:
            self.kill(node)

    def _end(self, node: Node, sign: signal.Signals) -> None:
        if node.process and node.process.poll() is None:
            node.process.send_signal(sign)
            node.process.wait(timeout=60)

    def _java(self, main: str, *arguments: str, heap: str = "384m") -> list[str]:
        return [
            "java",
            f"-Xmx{heap}",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}",
            "-cp",
            f"{resolve_jars()}/*",
            main,
            *arguments,
        ]

    def _format(self, node: Node) -> None:
        node.directory.mkdir(parents=True)
        properties = node.directory / "server.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in self._settings(node).items()))
        users = ((USER, PASSWORD), (RESTRICTED_USER, RESTRICTED_PASSWORD))
        scram = [
            f"--add-scram={mechanism}=[name={user},password={password}]"
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for user, password in users
        ]
        command = self._java(
            "kafka.tools.StorageTool", "format", "-t", self.cluster_id, "-c", str(properties), *scram
        )
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"formatting failed: {done.stdout}{done.stderr}")

    def _launch(self, node: Node) -> None:
        node.told, node.is_up = threading.Event(), False
        # A broker must not outlive a test run that was killed.
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        node.process = subprocess.Popen(
            [*guard, *self._java("kafka.Kafka", str(node.directory / "server.properties"))],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert node.process.stdout
        threading.Thread(target=_copy, args=(node.process.stdout, node), daemon=True).start()

    def _wait(self, node: Node, timeout_s: float) -> None:
        if not node.told.wait(timeout_s) or not node.is_up:
            self.kill(node)
            raise RuntimeError(f"node {node.node_id} did not start:\n{node.log.read_text()[-4000:]}")

    def _settings(self, node: Node) -> dict[str, object]:
        protocols = {"CONTROLLER": "PLAINTEXT", **LISTENERS}
        replicas = min(3, len(self.nodes))
        settings: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": node.node_id,
            "controller.quorum.voters": ",".join(
                f"{other.node_id}@127.0.0.1:{other.ports['CONTROLLER']}" for other in self.nodes
            ),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAIN",
            "listeners": ",".join(f"{name}://127.0.0.1:{node.ports[name]}" for name in protocols),
            "advertised.listeners": ",".join(
                f"{name}://127.0.0.1:{port}" for name, port in node.advertised.items()
            ),
            "listener.security.protocol.map": ",".join(f"{name}:{p}" for name, p in protocols.items()),
            "log.dirs": node.directory / "data",
            "auto.create.topics.enable": "false",
            "default.replication.factor": replicas,
            "min.insync.replicas": max(1, replicas - 1),
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": max(1, replicas - 1),
            "transaction.state.log.num.partitions": 2,
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "num.network.threads": 2,
            "num.io.threads": 4,
            "log.cleaner.dedupe.buffer.size": 8 << 20,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "true",
        }
        return settings | self._security()

    def _security(self) -> dict[str, object]:
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        oauth = "org.apache.kafka.common.security.oauthbearer"
        settings: dict[str, object] = {}
        for listener in ("sasl", "sasltls"):
            prefix = f"listener.name.{listener}"
            settings |= {
                f"{prefix}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
                f"{prefix}.plain.sasl.jaas.config": f'{plain} user_{USER}="{PASSWORD}";',
                f"{prefix}.scram-sha-256.sasl.jaas.config": scram,
                f"{prefix}.scram-sha-512.sasl.jaas.config": scram,
                f"{prefix}.oauthbearer.sasl.jaas.config": f"{oauth}.OAuthBearerLoginModule required"
                ' unsecuredLoginStringClaim_sub="broker";',
                f"{prefix}.oauthbearer.sasl.server.callback.handler.class": f"{oauth}.internals.unsecured"
                ".OAuthBearerUnsecuredValidatorCallbackHandler",
            }
        for listener in ("tls", "mtls", "sasltls"):
            prefix = f"listener.name.{listener}"
            settings |= {
                f"{prefix}.ssl.keystore.type": "PEM",
                f"{prefix}.ssl.keystore.location": self.certificates.directory / "server.pem",
                f"{prefix}.ssl.truststore.type": "PEM",
                f"{prefix}.ssl.truststore.location": self.certificates.ca,
                f"{prefix}.ssl.client.auth": "required" if listener == "mtls" else "none",
            }
        return settings


def _copy(output: IO[str], node: Node) -> None:
    """Keep what a node prints, and tell when it says it is up; also when it ends."""
    with node.log.open("a") as log:
        for line in output:
            log.write(line)
            log.flush()
            if "Kafka Server started" in line:
                node.is_up = True
                node.told.set()
    node.told.set()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="kafka-") as directory:
        cluster = ApacheKafka(Path(directory), nodes=arguments.nodes)
        try:
            cluster.start()
            print(json.dumps({name: cluster.servers(name) for name in LISTENERS}, indent=2), flush=True)
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
        finally:
            cluster.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
