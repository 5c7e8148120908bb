"""The kafka table of archon.toml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from core.settings.option import Duration, Section, Size, UrlList, option
from core.settings.secret import SecretReference, check_reference

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
Compression = Literal["zstd", "lz4", "snappy", "gzip", "none"]
Positive = Annotated[int, Field(gt=0)]


def _check_token(value: str) -> str:
    return value if value.startswith("command:") else check_reference(value)


_SERVER = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(\d{1,5}))?")


def check_servers(servers: tuple[str, ...]) -> tuple[str, ...]:
    """`servers` if each is HOST, HOST:PORT or [IPv6]:PORT. Raises `ValueError` for the first that is not."""
    for server in servers:
        match = _SERVER.fullmatch(server)
        if not match or not 0 < int(match[1] or 9092) < 65536:
            shown = "a server" if "@" in server else repr(server)  # what is before an @ may be a secret
            raise ValueError(f"{shown} is not HOST:PORT")
    return servers


TokenReference = Annotated[str, AfterValidator(_check_token)]


class KafkaSettings(Section):
    """How to reach Kafka, and how to behave there. Without `servers` the embedded log is used."""

    servers: Annotated[UrlList, AfterValidator(check_servers)] = option(
        "",
        "bootstrap servers of Kafka: HOST:PORT,HOST:PORT",
        env=("KAFKA_BOOTSTRAP_SERVERS",),
        common=True,
    )
    security_protocol: SecurityProtocol = option("PLAINTEXT", "how connections are secured")
    sasl_mechanism: SaslMechanism | None = option(None, "how archon proves who it is")
    sasl_username: str | None = option(None, "user of PLAIN and SCRAM")
    sasl_password: SecretReference | None = option(
        None, "where the password is: env:NAME or file:/path", secret=True
    )
    oauth_token: TokenReference | None = option(
        None, "where the OAUTHBEARER token is: env:NAME, file:/path or command:PROGRAM ARGUMENTS", secret=True
    )
    tls_ca: Path | None = option(None, "PEM file of the authorities to trust; default: the system's")
    tls_certificate: Path | None = option(None, "PEM file of the client certificate")
    tls_key: Path | None = option(None, "PEM file of the client certificate's key")
    tls_key_password: SecretReference | None = option(None, "where the key's password is", secret=True)

    compression: Compression = option("zstd", "compression of what archon sends")
    linger: Duration = option("5ms", "longest wait for more messages to send together")
    batch_bytes: Size = option("512KiB", "most bytes of small messages sent together to a partition")
    delivery_timeout: Duration = option("60s", "time until an unacknowledged message counts as unpublished")
    request_timeout: Duration = option("30s", "longest wait for one answer of a broker")
    reach_timeout: Duration = option("5s", "longest wait at the start until a broker is reached")

    instance_id: str | None = option(
        None, "static membership: this agent's fixed name, so that a restart moves no partitions"
    )
    session_timeout: Duration = option("45s", "silence after which the group gives up on an agent")
    rebalance_timeout: Duration = option("60s", "time to finish work in flight when partitions move")
    max_poll_interval: Duration = option("5m", "time without a poll after which an agent leaves the group")

    create_topics: bool = option(False, "create topics that are missing", flag="create-topics")
    partitions: Positive = option(6, "partitions of the topics that archon creates")
    replication: Positive | None = option(
        None, "replicas of the topics that archon creates; default: the cluster's"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.tls_key is None) != (self.tls_certificate is None):
            raise ValueError("tls_certificate and tls_key go together")
        if not self.security_protocol.startswith("SASL"):
            return self
        if self.sasl_mechanism is None:
            raise ValueError(f"{self.security_protocol} needs sasl_mechanism")
        if self.sasl_mechanism == "OAUTHBEARER":
            if not self.oauth_token:
                raise ValueError("OAUTHBEARER needs oauth_token")
        elif not (self.sasl_username and self.sasl_password):
            raise ValueError(f"{self.sasl_mechanism} needs sasl_username and sasl_password")
        return self
