"""The kafka table: what it refuses, secrets by reference only, and the topics it would make."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from aiokafka.errors import AuthenticationFailedError
from pydantic import ValidationError

from core.errors import ConfigurationError
from core.events.topics import AGENT_STATUS, COMPLETED, FILE_INTELLIGENCE, REQUESTED_V2
from core.log.kafka.security import TokenSource, security_options, tls_context
from core.log.kafka.setup import drift, spec_of, specs, too_few
from core.settings import load
from core.settings.kafka import KafkaSettings
from core.settings.secret import read_secret
from tests.subprocesses import outlived


@pytest.mark.parametrize("name", ["ARCHON_KAFKA_SERVERS", "KAFKA_BOOTSTRAP_SERVERS"])
def test_either_variable_names_the_servers(name: str) -> None:
    loaded = load(environ={name: "a:1,b:2", "ARCHON_HOME": "/nonexistent"})
    assert loaded.settings.kafka.servers == ("a:1", "b:2")


@pytest.mark.parametrize(
    "given",
    [
        {"security_protocol": "SASL_SSL"},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"},
        {"security_protocol": "TLS"},
        {"tls_key": "/key.pem"},
        {"compression": "rar"},
    ],
)
def test_what_cannot_work_is_refused_when_settings_are_read(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        KafkaSettings.model_validate(given)


@pytest.mark.parametrize(
    "servers", ["a:b:c", "kafka:http", "kafka:0", "kafka:70000", "plaintext://k:9092", "::1:9092"]
)
def test_servers_that_name_no_address_are_refused(servers: str) -> None:
    with pytest.raises(ConfigurationError, match="is not HOST:PORT"):
        load({"kafka.servers": servers}, environ={"ARCHON_HOME": "/nonexistent"})


@pytest.mark.parametrize(
    "servers", ["kafka", "kafka-0.kafka.svc:9092,kafka_1:9093", "[::1]:9092", "10.0.0.1:1"]
)
def test_servers_that_name_addresses_are_taken(servers: str) -> None:
    loaded = load({"kafka.servers": servers}, environ={"ARCHON_HOME": "/nonexistent"})
    assert loaded.settings.kafka.servers == tuple(servers.split(","))


def test_topics_with_fewer_partitions_than_wanted_are_told() -> None:
    wanted = [spec_of("more", 12), spec_of("fewer", 12), spec_of("missing", 12)]
    (told,) = too_few(wanted, {"more": 24, "fewer": 6})
    assert (told.topic, told.key, told.wanted, told.found) == ("fewer", "partitions", "12", "6")


@pytest.mark.parametrize("field", ["sasl_password", "tls_key_password", "oauth_token"])
def test_a_secret_in_place_of_its_reference_is_refused_and_not_repeated(field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({f"kafka.{field}": "hunter2-hunter2"}, environ={"ARCHON_HOME": "/nonexistent"})
    assert "hunter2" not in str(caught.value)


def test_secrets_come_from_the_environment_and_from_files(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from file\n")
    file.chmod(0o600)
    assert read_secret("env:NAME", {"NAME": "from environment"}) == "from environment"
    assert read_secret(f"file:{file}") == "from file"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * 70_000])
def test_a_secret_file_that_holds_no_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(ConfigurationError, match="secret file"):
        read_secret(f"file:{file}")


def test_a_missing_secret_names_its_place_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="NOT_THERE"):
        read_secret("env:NOT_THERE", {})
    with pytest.raises(ConfigurationError, match="No such file"):
        read_secret(f"file:{tmp_path}/absent")


def test_settings_show_references_and_never_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PW", "the secret itself")
    settings = KafkaSettings(
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="u",
        sasl_password="env:KAFKA_PW",
    )
    assert security_options(settings)["sasl_plain_password"] == "the secret itself"
    assert "the secret" not in repr(settings)


def test_a_certificate_that_cannot_be_loaded_is_a_configuration_error(tmp_path: Path) -> None:
    nonsense = tmp_path / "ca.pem"
    nonsense.write_text("no certificate")
    for path in (nonsense, tmp_path / "absent.pem"):
        with pytest.raises(ConfigurationError, match="tls_ca"):
            tls_context(KafkaSettings(tls_ca=path))


def script(tmp_path: Path, body: str) -> str:
    file = tmp_path / "token.py"
    file.write_text(body)
    return f"command:{sys.executable} {file}"


async def test_a_command_gives_the_token(tmp_path: Path) -> None:
    assert await TokenSource(script(tmp_path, "print('a.b.c')")).token() == "a.b.c"


@pytest.mark.parametrize("body", ["import sys; print('tok'); sys.exit(3)", "pass"])
async def test_a_command_that_fails_shows_nothing_it_printed(tmp_path: Path, body: str) -> None:
    with pytest.raises(AuthenticationFailedError) as caught:
        await TokenSource(script(tmp_path, body)).token()
    assert "tok'" not in str(caught.value)


async def test_a_token_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.log.kafka.security._TOKEN_DEADLINE_S", 0.5)
    source = TokenSource(script(tmp_path, "import time; time.sleep(600)"))
    async with asyncio.timeout(20):
        with pytest.raises(AuthenticationFailedError, match="longer than"):
            await source.token()


IN_PARTS = """
import fcntl, termios
print("a.", end="", flush=True)
while any(fcntl.ioctl(1, termios.FIONREAD, bytes(4))):  # until the first part was read
    pass
print("b")
"""
LEFT_BEHIND = """
import os, select
os.fork() or os.setsid()
watched = select.poll()
watched.register(1, 0)
watched.poll()  # until nobody reads the output
"""


async def test_a_token_may_come_in_parts(tmp_path: Path) -> None:
    assert await TokenSource(script(tmp_path, IN_PARTS)).token() == "a.b"


def test_a_token_command_that_leaves_children_behind_outlives_no_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.log.kafka.security._TOKEN_DEADLINE_S", 1)
    source = TokenSource(script(tmp_path, LEFT_BEHIND))
    with pytest.raises(AuthenticationFailedError, match="longer than"):
        asyncio.run(source.token())
    assert outlived() == []


def test_topics_are_kept_as_the_contract_says() -> None:
    day = 86_400_000
    assert spec_of(REQUESTED_V2, 6).config["retention.ms"] == str(7 * day)
    assert spec_of(COMPLETED, 6).config["retention.ms"] == str(day)
    assert spec_of(f"{REQUESTED_V2}.dlq", 6).config["retention.ms"] == str(30 * day)
    assert spec_of(AGENT_STATUS, 6).config["cleanup.policy"] == "compact"
    assert spec_of(FILE_INTELLIGENCE, 6).config["cleanup.policy"] == "compact"
    assert spec_of(REQUESTED_V2, 6).config["max.message.bytes"] == str(6 * 1024 * 1024)


def test_setup_covers_every_topic_of_a_run() -> None:
    names = [spec.name for spec in specs(KafkaSettings(), ("mine",))]
    assert names[:3] == ["mine", "mine.dlq", "mine.dlq.redriven"]
    assert {COMPLETED, FILE_INTELLIGENCE, AGENT_STATUS} <= set(names)


def test_a_difference_from_what_archon_would_choose_is_told() -> None:
    wanted = [spec_of(REQUESTED_V2, 6)]
    found = {REQUESTED_V2: {"max.message.bytes": "1048588", "retention.ms": "604800000"}}
    (difference,) = drift(wanted, found)
    assert (difference.key, difference.found) == ("max.message.bytes", "1048588")
