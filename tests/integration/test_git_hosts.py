"""Private hosts over HTTPS and SSH: the right secret opens them, the wrong one or a wrong host does not."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from core.errors import AccessDenied, ArchonError, BackendUnavailable, ConfigurationError, UnsafeInput
from core.events.v2 import GitCredentials
from core.git.errors import HostKeyMismatch, HostMisbehaved, RepositoryNotFound
from core.git.fetcher import GitContentFetcher
from core.git.source import GitContent, GitSource, Wanted
from core.safety.url import UrlPolicy
from core.settings.git import HostCredentials
from tests.bare_repositories import BareRepository
from tests.git_fetching import fetching
from tests.servers.git_http import DISCOVERY, UPLOAD_PACK, Fault, GitHttpServer
from tests.servers.git_ssh import SshServer

SECRET = "hidden-token-4711"
TOKEN = GitCredentials(type="token", credential_ref="env:TOKEN")
KEY = GitCredentials(type="ssh_key", credential_ref="env:KEY")


@dataclass
class Place:
    root: Path
    repository: BareRepository
    commit: str
    certificate: ssl.SSLContext
    ca_file: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("served")
    repository = BareRepository(root / "r.git")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = root / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return Place(root, repository, repository.commit({"a.py": b"a = 1\n"}), context, ca_file)


@pytest.fixture
def server(place: Place) -> Iterator[GitHttpServer]:
    with GitHttpServer(place.root, tokens={"r.git": SECRET}, certificate=place.certificate) as running:
        yield running


def table(server: GitHttpServer | SshServer, **options: str) -> dict[str, HostCredentials]:
    return {f"127.0.0.1:{server.port}": HostCredentials(refs=("env:TOKEN", "env:KEY"), **options)}


def keygen(*arguments: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *arguments], check=True, capture_output=True)


async def read(
    fetcher: GitContentFetcher, url: str, commit: str, credentials: GitCredentials | None
) -> GitContent | ArchonError:
    (answer,) = await fetcher.fetch_many(GitSource(url, commit, credentials=credentials), [Wanted("a.py")])
    return answer


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
async def test_a_token_opens_its_repository(
    tmp_path: Path, place: Place, server: GitHttpServer, scheme: str
) -> None:
    async with fetching(
        tmp_path, credentials=table(server, scheme=scheme), secrets={"TOKEN": SECRET}, ca_file=place.ca_file
    ) as of:
        answer = await read(of.fetcher, server.url("r.git"), place.commit, TOKEN)
        assert isinstance(answer, GitContent)
        assert {seen.authorization is not None for seen in server.seen} == {True}
        denied = await read(of.fetcher, server.url("r.git"), place.commit, None)
        assert isinstance(denied, AccessDenied), "what one credential opened is not another's"
        assert "wants a credential" in str(denied)


async def test_a_wrong_token_is_told_from_none(tmp_path: Path, place: Place, server: GitHttpServer) -> None:
    async with fetching(
        tmp_path, credentials=table(server), secrets={"TOKEN": "wrong-token"}, ca_file=place.ca_file
    ) as of:
        answer = await read(of.fetcher, server.url("r.git"), place.commit, TOKEN)
        assert isinstance(answer, AccessDenied)
        assert "refuses the credential" in str(answer)


async def test_a_rotated_token_is_taken_up(tmp_path: Path, place: Place, server: GitHttpServer) -> None:
    secrets = {"TOKEN": SECRET}
    now = [0.0]
    async with fetching(
        tmp_path,
        credentials=table(server),
        secrets=secrets,
        ca_file=place.ca_file,
        clock=lambda: now[0],
    ) as of:
        assert isinstance(await read(of.fetcher, server.url("r.git"), place.commit, TOKEN), GitContent)
        server.tokens["r.git"] = secrets["TOKEN"] = "hidden-token-0815"
        newer = place.repository.commit({"a.py": b"a = 2\n"}, branch="rotated")
        now[0] += 60
        assert isinstance(await read(of.fetcher, server.url("r.git"), newer, TOKEN), GitContent)


async def test_a_host_that_nobody_vouches_for_gets_nothing(
    tmp_path: Path, place: Place, server: GitHttpServer
) -> None:
    async with fetching(tmp_path, credentials=table(server), secrets={"TOKEN": SECRET}) as of:
        answer = await read(of.fetcher, server.url("r.git"), place.commit, TOKEN)
        assert isinstance(answer, BackendUnavailable)
        assert "not trusted" in str(answer)
        assert server.seen == []


async def test_a_token_never_goes_over_plain_http(tmp_path: Path, place: Place) -> None:
    with GitHttpServer(place.root, tokens={"r.git": SECRET}) as plain:
        async with fetching(tmp_path, credentials=table(plain), secrets={"TOKEN": SECRET}) as of:
            answer = await read(of.fetcher, plain.url("r.git"), place.commit, TOKEN)
            assert isinstance(answer, AccessDenied)
            assert plain.seen == []


async def test_a_redirect_to_another_origin_does_not_get_the_token(
    tmp_path: Path, place: Place, server: GitHttpServer
) -> None:
    with GitHttpServer(place.root, certificate=place.certificate) as other:
        server.faults.append(
            Fault(
                "redirect", DISCOVERY, status=301, headers={"Location": f"{other.url('r.git')}/{DISCOVERY}"}
            )
        )
        async with fetching(
            tmp_path, credentials=table(server), secrets={"TOKEN": SECRET}, ca_file=place.ca_file
        ) as of:
            answer = await read(of.fetcher, server.url("r.git"), place.commit, TOKEN)
            assert isinstance(answer, GitContent), "public there"
            assert {seen.authorization for seen in other.seen} == {None}
            assert all(seen.authorization for seen in server.seen)


async def test_a_redirect_within_the_origin_is_followed_with_the_token(
    tmp_path: Path, place: Place, server: GitHttpServer
) -> None:
    moved = f"{server.url('r.git')}/{DISCOVERY}"
    server.faults.append(Fault("redirect", f"old.git/{DISCOVERY}", status=302, headers={"Location": moved}))
    async with fetching(
        tmp_path, credentials=table(server), secrets={"TOKEN": SECRET}, ca_file=place.ca_file
    ) as of:
        assert isinstance(await read(of.fetcher, server.url("old.git"), place.commit, TOKEN), GitContent)
        assert server.seen[-1].path.startswith("/r.git/")


@pytest.mark.parametrize(
    "location",
    [
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/r.git/info/refs",
        "https://[::ffff:169.254.169.254]/r.git/info/refs",
        "file:///etc/passwd",
        "https://user:word@127.0.0.1/r.git/info/refs",
        "http://127.0.0.1:{port}/r.git/info/refs",
        "//169.254.169.254/r.git/info/refs",
    ],
)
async def test_a_redirect_is_held_to_the_same_rules(
    tmp_path: Path, place: Place, server: GitHttpServer, location: str
) -> None:
    target = location.format(port=server.port)
    server.faults.append(Fault("redirect", DISCOVERY, status=302, headers={"Location": target}))
    async with fetching(
        tmp_path, credentials=table(server), secrets={"TOKEN": SECRET}, ca_file=place.ca_file
    ) as of:
        answer = await read(of.fetcher, server.url("r.git"), place.commit, TOKEN)
        assert isinstance(answer, ArchonError)
        assert len(server.seen) == 1


async def test_a_redirect_that_goes_round_ends(tmp_path: Path, place: Place, server: GitHttpServer) -> None:
    here = f"{server.url('r.git')}/{DISCOVERY}"
    server.faults.append(Fault("redirect", DISCOVERY, status=302, headers={"Location": here}))
    async with fetching(tmp_path, ca_file=place.ca_file) as of:
        answer = await read(of.fetcher, server.url("r.git"), place.commit, None)
        assert isinstance(answer, HostMisbehaved)
        assert len(server.seen) == 4


async def test_a_post_is_not_redirected(tmp_path: Path, place: Place, server: GitHttpServer) -> None:
    server.faults.append(
        Fault("redirect", UPLOAD_PACK, status=307, headers={"Location": server.url("r.git/git-upload-pack")})
    )
    async with fetching(
        tmp_path, credentials=table(server), secrets={"TOKEN": SECRET}, ca_file=place.ca_file
    ) as of:
        answer = await read(of.fetcher, server.url("r.git"), place.commit, TOKEN)
        assert isinstance(answer, ArchonError)
        assert len(server.seen) == 2


@pytest.fixture(scope="module")
def ssh(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with SshServer(tmp_path_factory.mktemp("ssh"), place.root) as running:
        yield running


async def test_a_key_opens_its_repository(tmp_path: Path, place: Place, ssh: SshServer) -> None:
    async with fetching(
        tmp_path, credentials=table(ssh), secrets={"KEY": ssh.key}, known_hosts=ssh.known_hosts()
    ) as of:
        answer = await read(of.fetcher, ssh.url("r.git"), place.commit, KEY)
        assert isinstance(answer, GitContent)
        assert answer.content == b"a = 1\n"
        absent = await read(of.fetcher, ssh.url("none.git"), place.commit, KEY)
        assert isinstance(absent, RepositoryNotFound)
        quoted = ssh.url("none.git") + "'%20;%20touch%20owned;'"
        assert isinstance(await read(of.fetcher, quoted, place.commit, KEY), RepositoryNotFound)


async def test_an_ssh_host_without_version_2_gives_the_branch(
    tmp_path: Path, place: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    repository = BareRepository(place.root / "old.git")
    old = repository.commit({"a.py": b"old = 1\n"})
    repository.commit({"a.py": b"new = 1\n"})
    with SshServer(tmp_path_factory.mktemp("ssh0"), place.root, accept_version=False) as ssh:
        async with fetching(
            tmp_path, credentials=table(ssh), secrets={"KEY": ssh.key}, known_hosts=ssh.known_hosts()
        ) as of:
            answer = await read(of.fetcher, ssh.url("old.git"), old, KEY)
            assert isinstance(answer, GitContent), answer
            assert answer.content == b"old = 1\n"


async def test_a_host_with_another_key_is_not_talked_to(tmp_path: Path, place: Place, ssh: SshServer) -> None:
    async with fetching(
        tmp_path, credentials=table(ssh), secrets={"KEY": ssh.key}, known_hosts=ssh.known_hosts("stranger")
    ) as of:
        answer = await read(of.fetcher, ssh.url("r.git"), place.commit, KEY)
        assert isinstance(answer, HostKeyMismatch)


async def test_a_host_that_nobody_pinned_is_not_talked_to(
    tmp_path: Path, place: Place, ssh: SshServer
) -> None:
    elsewhere = tmp_path / "known_hosts"
    elsewhere.write_text(ssh.known_hosts().read_text().replace("127.0.0.1", "127.0.0.2"))
    async with fetching(
        tmp_path / "a", credentials=table(ssh), secrets={"KEY": ssh.key}, known_hosts=elsewhere
    ) as of:
        answer = await read(of.fetcher, ssh.url("r.git"), place.commit, KEY)
        assert isinstance(answer, HostKeyMismatch)
    async with fetching(tmp_path / "b", credentials=table(ssh), secrets={"KEY": ssh.key}) as of:
        assert isinstance(await read(of.fetcher, ssh.url("r.git"), place.commit, KEY), ConfigurationError)


async def test_hashed_names_are_found_and_revoked_keys_refused(
    tmp_path: Path, place: Place, ssh: SshServer
) -> None:
    hashed = tmp_path / "known_hosts"
    hashed.write_text(ssh.known_hosts().read_text())
    keygen("-H", "-f", hashed)
    assert "127.0.0.1" not in hashed.read_text()
    async with fetching(
        tmp_path / "a", credentials=table(ssh), secrets={"KEY": ssh.key}, known_hosts=hashed
    ) as of:
        assert isinstance(await read(of.fetcher, ssh.url("r.git"), place.commit, KEY), GitContent)
    revoked = tmp_path / "revoked"
    revoked.write_text(f"@revoked {ssh.known_hosts().read_text()}{ssh.known_hosts().read_text()}")
    async with fetching(
        tmp_path / "b", credentials=table(ssh), secrets={"KEY": ssh.key}, known_hosts=revoked
    ) as of:
        assert isinstance(await read(of.fetcher, ssh.url("r.git"), place.commit, KEY), HostKeyMismatch)


async def test_a_host_that_changes_its_key_has_two_of_one_type(
    tmp_path: Path, place: Place, ssh: SshServer
) -> None:
    right, other = ssh.known_hosts().read_text(), ssh.known_hosts("stranger").read_text()
    both = tmp_path / "known_hosts"
    for number, lines in enumerate((other + right, right + other)):
        both.write_text(lines)
        async with fetching(
            tmp_path / str(number), credentials=table(ssh), secrets={"KEY": ssh.key}, known_hosts=both
        ) as of:
            assert isinstance(await read(of.fetcher, ssh.url("r.git"), place.commit, KEY), GitContent)


@pytest.mark.parametrize("kind", ["stranger", "encrypted", "no key", "none"])
async def test_keys_that_do_not_open(tmp_path: Path, place: Place, ssh: SshServer, kind: str) -> None:
    encrypted = tmp_path / "encrypted"
    keygen("-t", "ed25519", "-N", "words", "-f", encrypted)
    keys = {"stranger": ssh.stranger, "encrypted": encrypted.read_text(), "no key": "nothing of the kind"}
    errors = {"stranger": AccessDenied, "none": AccessDenied}
    async with fetching(
        tmp_path / "cache",
        credentials=table(ssh),
        secrets={"KEY": keys.get(kind, "x")},
        known_hosts=ssh.known_hosts(),
    ) as of:
        answer = await read(of.fetcher, ssh.url("r.git"), place.commit, None if kind == "none" else KEY)
        assert isinstance(answer, errors.get(kind, ConfigurationError))
        assert keys.get(kind, "-") not in str(answer)


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
async def test_other_kinds_of_keys_open_too(
    tmp_path: Path, place: Place, tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    directory = tmp_path_factory.mktemp(kind)
    with SshServer(directory, place.root, kind=kind) as ssh:
        async with fetching(
            tmp_path, credentials=table(ssh), secrets={"KEY": ssh.key}, known_hosts=ssh.known_hosts()
        ) as of:
            assert isinstance(await read(of.fetcher, ssh.url("r.git"), place.commit, KEY), GitContent)


async def test_loopback_needs_its_setting(tmp_path: Path, place: Place, server: GitHttpServer) -> None:
    async with fetching(tmp_path, policy=UrlPolicy(), ca_file=place.ca_file) as of:
        answer = await read(of.fetcher, server.url("r.git"), place.commit, None)
        assert isinstance(answer, UnsafeInput)
        assert server.seen == []
