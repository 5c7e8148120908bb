"""Reaching Kafka: every way of securing it works, and every way of failing says which and why."""

from __future__ import annotations

import json
import sys
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from core.errors import BackendUnavailable
from core.log.base import OutgoingMessage, Position
from core.log.kafka import KafkaLog
from core.settings.kafka import KafkaSettings
from tests.brokers.kafka.start import PASSWORD, USER, ApacheKafka
from tests.servers.kafka import GROUP, Broker
from tests.servers.ports import free_ports
from tests.servers.tcp_proxy import TcpProxy

pytestmark = pytest.mark.xdist_group(GROUP)


def unsecured_token() -> str:
    """A token as a test broker takes it: unsigned, for an hour."""
    now = int(time.time())
    parts = ({"alg": "none"}, {"sub": USER, "iat": now - 60, "exp": now + 3600})
    return ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, str]:
    """References to the secrets of the test broker."""
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "token").write_text(unsecured_token())
    for name in ("password", "token"):
        (tmp_path / name).chmod(0o600)
    script = tmp_path / "token.py"
    script.write_text(f"print({unsecured_token()!r})")
    return {
        "password": f"file:{tmp_path / 'password'}",
        "token": f"file:{tmp_path / 'token'}",
        "command": f"command:{sys.executable} {script}",
    }


def secured(apache_kafka: ApacheKafka, secrets: dict[str, str], way: str) -> dict[str, Any]:
    """Settings of one way, such as `SASL_SSL SCRAM-SHA-512`."""
    protocol, _, mechanism = way.partition(" ")
    listener = {"SSL": "TLS", "SASL_PLAINTEXT": "SASL", "SASL_SSL": "SASLTLS"}[protocol]
    given: dict[str, Any] = {"security_protocol": protocol}
    if protocol.endswith("SSL"):
        given["tls_ca"] = apache_kafka.certificates.ca
    if mechanism == "certificate":
        listener = "MTLS"
        given["tls_certificate"] = apache_kafka.certificates.client
        given["tls_key"] = apache_kafka.certificates.client_key
    elif mechanism.startswith("OAUTHBEARER"):
        source = mechanism.partition(" ")[2]
        given |= {"sasl_mechanism": "OAUTHBEARER", "oauth_token": secrets[source]}
    elif mechanism:
        given |= {
            "sasl_mechanism": mechanism,
            "sasl_username": USER,
            "sasl_password": secrets["password"],
        }
    return given | {"servers": apache_kafka.servers(listener)}


@pytest.mark.parametrize(
    "way",
    [
        "SSL",
        "SSL certificate",
        "SASL_PLAINTEXT PLAIN",
        "SASL_PLAINTEXT SCRAM-SHA-256",
        "SASL_PLAINTEXT SCRAM-SHA-512",
        "SASL_PLAINTEXT OAUTHBEARER token",
        "SASL_PLAINTEXT OAUTHBEARER command",
        "SASL_SSL PLAIN",
        "SASL_SSL SCRAM-SHA-512",
    ],
)
async def test_messages_go_and_come_however_connections_are_secured(
    kafka: Broker, apache_kafka: ApacheKafka, secrets: dict[str, str], way: str
) -> None:
    topic = f"secured-{uuid4().hex}"
    given = secured(apache_kafka, secrets, way)
    async with KafkaLog(kafka.settings(**given, create_topics=True, partitions=1)) as log:
        (position,) = await log.publish(topic, [OutgoingMessage(b"k", b"v")])
        assert isinstance(position, Position)
        consumer = await log.consumer(topic, [topic], member_id="m")
        (message,) = await consumer.poll(10, 20.0)
        assert (message.key, message.value) == (b"k", b"v")


async def failure(settings: KafkaSettings) -> BackendUnavailable:
    """How entering the log fails."""
    with pytest.raises(BackendUnavailable) as caught:
        async with KafkaLog(settings):
            pass
    return caught.value


async def test_a_refused_connection_names_the_address() -> None:
    (port,) = free_ports(1)
    error = await failure(KafkaSettings(servers=f"127.0.0.1:{port}"))
    assert str(error) == f"Kafka cannot be reached: 127.0.0.1:{port}: connection refused"


async def test_every_server_is_tried_and_told(kafka: Broker) -> None:
    one, other = free_ports(2)
    error = await failure(KafkaSettings(servers=f"127.0.0.1:{one},127.0.0.1:{other}"))
    assert f"127.0.0.1:{one}: connection refused; 127.0.0.1:{other}: connection refused" in str(error)
    async with KafkaLog(kafka.settings(servers=f"127.0.0.1:{one},{kafka.servers}")) as log:
        assert log.cluster.brokers


async def test_a_name_that_does_not_resolve_is_told() -> None:
    error = await failure(KafkaSettings(servers="no-such-host.invalid:9092"))
    assert "no-such-host.invalid:9092: the host name does not resolve" in str(error)


async def test_a_silent_server_is_given_up_in_time(apache_kafka: ApacheKafka) -> None:
    async with TcpProxy(apache_kafka.nodes[0].ports["PLAIN"]) as proxy:
        proxy.freeze()
        started = time.monotonic()
        error = await failure(KafkaSettings(servers=f"127.0.0.1:{proxy.port}", reach_timeout=0.5))
        assert "no answer in time" in str(error)
        assert time.monotonic() - started < 5


async def test_an_advertised_address_that_cannot_be_reached_is_named(apache_kafka: ApacheKafka) -> None:
    node = apache_kafka.nodes[0]
    error = await failure(KafkaSettings(servers=apache_kafka.servers("PROXIED")))
    advertised = node.advertised["PROXIED"]
    assert f"Kafka answers at 127.0.0.1:{node.ports['PROXIED']}" in str(error)
    assert f"broker 1 advertises 127.0.0.1:{advertised}: connection refused" in str(error)
    assert "advertised.listeners" in (error.hint or "")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_a_refused_login_and_is_not_shown(
    apache_kafka: ApacheKafka, secrets: dict[str, str], tmp_path: Path, mechanism: str
) -> None:
    (tmp_path / "wrong").write_text("open sesame")
    (tmp_path / "wrong").chmod(0o600)
    given = secured(apache_kafka, secrets, f"SASL_PLAINTEXT {mechanism}")
    error = await failure(KafkaSettings(**given | {"sasl_password": f"file:{tmp_path / 'wrong'}"}))
    assert "the broker refused the login" in str(error)
    assert "sesame" not in f"{error!r} {error.hint}"


async def test_a_token_that_cannot_be_had_says_so(apache_kafka: ApacheKafka, secrets: dict[str, str]) -> None:
    given = secured(apache_kafka, secrets, "SASL_PLAINTEXT OAUTHBEARER command")
    error = await failure(KafkaSettings(**given | {"oauth_token": "command:/bin/false"}))
    assert "the token command gave no token" in str(error)


async def test_an_authority_that_is_not_trusted_is_told(
    apache_kafka: ApacheKafka, secrets: dict[str, str]
) -> None:
    given = secured(apache_kafka, secrets, "SSL")
    error = await failure(KafkaSettings(**given | {"tls_ca": apache_kafka.certificates.other_ca}))
    assert "TLS: the broker's certificate is not trusted" in str(error)


async def test_a_missing_client_certificate_is_told(
    apache_kafka: ApacheKafka, secrets: dict[str, str]
) -> None:
    given = secured(apache_kafka, secrets, "SSL") | {"servers": apache_kafka.servers("MTLS")}
    assert "TLS" in str(await failure(KafkaSettings(**given)))


@pytest.mark.parametrize(
    ("listener", "way"), [("TLS", {}), ("SASL", {}), ("PLAIN", {"security_protocol": "SSL"})]
)
async def test_the_wrong_protocol_for_a_listener_is_told(
    apache_kafka: ApacheKafka, listener: str, way: dict[str, Any]
) -> None:
    settings = KafkaSettings(servers=apache_kafka.servers(listener), **way)
    assert "is kafka.security_protocol that of this listener?" in str(await failure(settings))
