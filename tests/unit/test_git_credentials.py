"""A secret goes to the hosts it is configured for and nowhere else; references are resolved, never shown."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aioboto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import AccessDenied, BackendUnavailable, ConfigurationError, UsageError
from core.events.v2 import GitCredentials
from core.git.credentials import (
    SECRET_LIFE_S,
    SHORTEST_LIFE_S,
    CredentialResolver,
    KeyLogin,
    TokenLogin,
)
from core.git.origin import credentials_for
from core.git.secret_providers import (
    AwsSecrets,
    EnvironmentSecrets,
    FileSecrets,
    SecretProviders,
    default_providers,
)
from core.safety.git_url import GitUrl, parse_git_url
from core.safety.url import UrlPolicy
from core.settings.git import HostCredentials
from core.settings.secret import read_secret
from tests.servers import ministack

POLICY = UrlPolicy(schemes=frozenset({"https", "ssh", "http"}))
HOST = "git.example.com"
TOKEN = GitCredentials(type="token", credential_ref="env:TOKEN")
KEY = GitCredentials(type="ssh_key", credential_ref="env:KEY")
TABLE = {HOST: HostCredentials(refs=("env:TOKEN", "env:KEY"))}


def url(text: str) -> GitUrl:
    return parse_git_url(text, POLICY)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def resolver(environ: dict[str, str] | None = None, **options: Any) -> CredentialResolver:
    table = options.pop("table", TABLE)
    return CredentialResolver(table, default_providers(environ or {}), **options)


@pytest.mark.parametrize(
    ("text", "credentials"),
    [
        ("https://git.example.com/x", TOKEN),
        ("https://GIT.example.com:443/x", TOKEN),
        ("git@git.example.com:x", KEY),
        ("ssh://git.example.com/x", KEY),
        ("https://other.example.com/x", None),
    ],
)
def test_a_reference_is_granted_for_its_host(text: str, credentials: GitCredentials | None) -> None:
    grant = resolver().grant(url(text), credentials)
    assert grant.scope == (credentials.credential_ref if credentials else "")


@pytest.mark.parametrize(
    ("text", "credentials"),
    [
        ("https://other.example.com/x", TOKEN),
        ("https://git.example.com.evil.example/x", TOKEN),
        ("https://git.example.com:8443/x", TOKEN),
        ("ssh://git.example.com:2222/x", KEY),
        ("http://git.example.com/x", TOKEN),
        ("ssh://git.example.com/x", TOKEN),
        ("https://git.example.com/x", KEY),
        ("https://git.example.com/x", GitCredentials(type="token", credential_ref="env:PATH")),
        ("https://git.example.com/x", GitCredentials(type="token", credential_ref="env:TOKEN ")),
        ("https://git.example.com/x", GitCredentials(type="token", credential_ref="file:/etc/shadow")),
    ],
)
def test_everything_else_is_refused_before_anything_is_read(text: str, credentials: GitCredentials) -> None:
    with pytest.raises(AccessDenied):
        resolver({"TOKEN": "value"}).grant(url(text), credentials)


def test_a_port_of_its_own_has_an_entry_of_its_own() -> None:
    table = {"git.example.com:8443": HostCredentials(refs=("env:TOKEN",))}
    assert resolver(table=table).grant(url("https://git.example.com:8443/x"), TOKEN).scope == "env:TOKEN"
    with pytest.raises(AccessDenied):
        resolver(table=table).grant(url("https://git.example.com/x"), TOKEN)


async def test_a_person_may_use_a_reference_for_the_url_given_with_it() -> None:
    known = resolver({"TOKEN": "abc-def"}, table={})
    known.allow(url("https://git.example.com/x"), TOKEN)
    assert await known.login(known.grant(url("https://git.example.com/y"), TOKEN))
    with pytest.raises(AccessDenied):
        known.grant(url("https://other.example.com/x"), TOKEN)


async def test_tokens_become_headers() -> None:
    basic = await resolver({"TOKEN": " abc-def\n"}).login(
        resolver().grant(url("https://git.example.com/x"), TOKEN)
    )
    assert isinstance(basic, TokenLogin)
    assert basic.authorization == "Basic eC1hY2Nlc3MtdG9rZW46YWJjLWRlZg=="
    table = {HOST: HostCredentials(refs=("env:TOKEN",), scheme="bearer")}
    known = resolver({"TOKEN": "abc-def"}, table=table)
    bearer = await known.login(known.grant(url("https://git.example.com/x"), TOKEN))
    assert isinstance(bearer, TokenLogin)
    assert bearer.authorization == "Bearer abc-def"


@pytest.mark.parametrize(
    "value", ["two\nlines", "two words", "tab\there", "ünï", "a\x00b", "a\rb", " ", "\n"]
)
async def test_what_could_break_out_of_a_header_is_no_token(value: str) -> None:
    known = resolver({"TOKEN": value})
    with pytest.raises(ConfigurationError) as caught:
        await known.login(known.grant(url("https://git.example.com/x"), TOKEN))
    assert value.strip() == "" or value not in str(caught.value)


async def test_a_secret_is_read_once_in_its_life_and_again_when_it_was_rotated() -> None:
    environ, clock = {"TOKEN": "first-value"}, Clock()
    known = resolver(environ, clock=clock)
    grant = known.grant(url("https://git.example.com/x"), TOKEN)
    first = await known.login(grant)
    environ["TOKEN"] = "second-value"
    assert await known.login(grant) == first
    assert await known.renew(grant, first) is None, "just read: the provider is spared"
    clock.now += SHORTEST_LIFE_S
    renewed = await known.renew(grant, first)
    assert isinstance(renewed, TokenLogin)
    assert renewed.token == "second-value"
    clock.now += SHORTEST_LIFE_S
    assert await known.renew(grant, renewed) is None, "refused as it is: not rotated"
    environ["TOKEN"] = "third-value"
    clock.now += SECRET_LIFE_S
    third = await known.login(grant)
    assert isinstance(third, TokenLogin)
    assert third.token == "third-value"


async def test_logins_do_not_show_their_secret() -> None:
    known = resolver({"TOKEN": "hidden-token", "KEY": "hidden-key"})
    token = await known.login(known.grant(url("https://git.example.com/x"), TOKEN))
    key = await known.login(known.grant(url("git@git.example.com:x"), KEY))
    assert isinstance(key, KeyLogin)
    assert "hidden" not in repr(token) + repr(key) + f"{token}{key}"


async def test_no_credentials_is_no_login() -> None:
    known = resolver()
    grant = known.grant(url("https://git.example.com/x"), None)
    assert await known.login(grant) is None
    assert await known.renew(grant, None) is None


def test_host_keys_come_from_the_hosts_table_or_the_common_file() -> None:
    table = {HOST: HostCredentials(refs=(), known_hosts=Path("/its/own"))}
    known = resolver(table=table, known_hosts=Path("/common"))
    assert known.known_hosts(url("git@git.example.com:x")) == Path("/its/own")
    assert known.known_hosts(url("git@other.example.com:x")) == Path("/common")
    with pytest.raises(ConfigurationError, match=r"other\.example\.com"):
        resolver().known_hosts(url("git@other.example.com:x"))


@pytest.mark.parametrize("mode", [0o600, 0o400])
async def test_a_credential_file_that_only_its_owner_reads(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    path.write_text("abc\n")
    path.chmod(mode)
    assert await FileSecrets().read(str(path)) == "abc\n"


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o777, 0o601])
async def test_a_file_that_everybody_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    path.write_text("abc\n")
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match="can be read by everybody") as refused:
        await FileSecrets().read(str(path))
    assert refused.value.hint is not None
    assert "defaultMode: 0440" in refused.value.hint


async def test_a_secret_volume_is_read_through_its_links_by_a_group_of_ours(tmp_path: Path) -> None:
    """As Kubernetes mounts a Secret with defaultMode 0440 and an fsGroup."""
    versions = tmp_path / "..2026_11_27"
    versions.mkdir()
    (versions / "token").write_text("abc")
    (versions / "token").chmod(0o440)
    (tmp_path / "..data").symlink_to(versions.name)
    (tmp_path / "token").symlink_to("..data/token")
    os.chown(versions / "token", -1, os.getegid())
    assert await FileSecrets().read(f"{tmp_path}/token") == "abc"
    assert read_secret(f"file:{tmp_path}/token") == "abc"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another group")
async def test_a_group_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("abc")
    path.chmod(0o440)
    os.chown(path, -1, 4711)
    with pytest.raises(ConfigurationError, match="the group 4711"):
        await FileSecrets().read(str(path))
    with pytest.raises(ConfigurationError, match="the group 4711"):
        read_secret(f"file:{path}")


async def test_what_is_no_credential_file(tmp_path: Path) -> None:
    fifo, empty, binary, huge = (tmp_path / name for name in ("fifo", "empty", "binary", "huge"))
    os.mkfifo(fifo, 0o600)
    for path, content in ((empty, b" \n"), (binary, b"\xff\xfe"), (huge, b"x" * 100_000)):
        path.write_bytes(content)
        path.chmod(0o600)
    for path in (fifo, empty, binary, huge, tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigurationError):
            await FileSecrets().read(str(path))
    for text in ("relative", "../up", "", "/a\0b"):
        with pytest.raises(ConfigurationError):
            await FileSecrets().read(text)


async def test_environment() -> None:
    assert await EnvironmentSecrets({"A": "x"}).read("A") == "x"
    for missing in ("B", ""):
        with pytest.raises(ConfigurationError):
            await EnvironmentSecrets({"A": "x", "C": ""}).read(missing)


@given(st.text(max_size=30))
async def test_a_reference_is_a_known_scheme_and_a_name(text: str) -> None:
    if not text.startswith(("env:", "file:", "aws-secretsmanager:")):
        with pytest.raises(ConfigurationError, match="is not a credential reference"):
            await default_providers({}).read(text)


async def test_others_add_providers() -> None:
    class Vault:
        async def read(self, locator: str) -> str:
            return f"from the vault: {locator}"

    providers = SecretProviders({})
    providers.register("vault", Vault())
    assert await providers.read("vault:a/b#c") == "from the vault: a/b#c"


async def test_installed_plug_ins_are_providers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vault_for_tests.py").write_text(
        "class Vault:\n    async def read(self, locator):\n        return 'vault ' + locator\n"
    )
    info = tmp_path / "vault-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vault\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[archon.secret_providers]\nvault = vault_for_tests:Vault\nenv = vault_for_tests:Vault\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert await default_providers({}).read("vault:a") == "vault a"
    assert await default_providers({"A": "own"}).read("env:A") == "own", "ours cannot be replaced"
    assert credentials_for(url("https://git.example.com/x"), "vault:a")


@pytest.mark.parametrize(
    "text",
    ["ghp_0123456789", "token:value", "env:", "env:a-b", "env:x=y", "file:", "", ":x", "vault:x", "file:\n"],
)
def test_what_may_be_the_secret_itself_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        credentials_for(url("https://git.example.com/x"), text)
    assert not text.strip(":") or text not in str(caught.value)


def test_the_type_of_a_credential_follows_from_the_url() -> None:
    for text, kind in (("https://git.example.com/x", "token"), ("git@git.example.com:x", "ssh_key")):
        credentials = credentials_for(url(text), "env:A")
        assert credentials
        assert credentials.type == kind
    assert credentials_for(url("https://git.example.com/x"), None) is None


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with ministack.run(tmp_path_factory.mktemp("aws") / "server") as server:
        client = server.client("secretsmanager")
        client.create_secret(Name="git/plain", SecretString="plain-secret")
        client.create_secret(Name="git/json", SecretString='{"token": "json-secret", "count": 3}')
        client.create_secret(Name="git/binary", SecretBinary=b"binary-secret")
        yield server


def aws(server: Any, **changed: str) -> AwsSecrets:
    options = {
        "endpoint_url": server.endpoint,
        "region_name": "us-east-1",
        "aws_access_key_id": server.access_key,
        "aws_secret_access_key": server.secret_key,
        **changed,
    }

    @asynccontextmanager
    async def client() -> AsyncIterator[Any]:
        async with aioboto3.Session().client("secretsmanager", **options) as opened:
            yield opened

    return AwsSecrets(client)


async def test_secrets_manager(manager: Any) -> None:
    secrets = aws(manager)
    assert await secrets.read("git/plain") == "plain-secret"
    assert await secrets.read("git/json#token") == "json-secret"
    assert await secrets.read("git/binary") == "binary-secret"
    for missing in ("git/none", "git/json#none", "git/json#count", "git/plain#key"):
        with pytest.raises(ConfigurationError) as caught:
            await secrets.read(missing)
        assert "secret" not in str(caught.value).replace("the secret", "").replace("Secrets Manager", "")


async def test_secrets_manager_that_refuses_or_is_away(manager: Any) -> None:
    with pytest.raises(ConfigurationError, match="refuses"):
        await aws(manager, aws_secret_access_key="wrong" * 8).read("git/plain")
    with pytest.raises(BackendUnavailable):
        await aws(manager, endpoint_url="http://127.0.0.1:1").read("git/plain")
