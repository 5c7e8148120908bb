"""A secret for a Git host is only on its way to that host: in no file, output, argument or event."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.bare_repositories import BareRepository, generated_files
from tests.servers.git_http import GitHttpServer
from tests.servers.git_ssh import SshServer

ROOT = Path(__file__).parents[2]
CANARY = "canary7Zq0xVnB4kLw2RtYp9"
# Runs before any command: reports every process it starts.
TATTLE = """
import os, sys
def tell(event, arguments):
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"):
        with open(os.environ["TATTLE_FILE"], "a") as file:
            file.write(f"{event} {arguments[:2]}\\n")
sys.addaudithook(tell)
"""


def shapes(secret: str) -> list[bytes]:
    """The forms in which a secret would be met."""
    forms = {secret, secret[::-1]}
    for text in (secret, f"x-access-token:{secret}", f" {secret}", f"  {secret}"):
        encoded = base64.b64encode(text.encode()).decode()
        forms |= {encoded[4:-4], encoded[4:-4].replace("+", "-").replace("/", "_")}
    return [form.encode() for form in forms]


class Bench:
    """Commands with a home of their own, and everything they ever put out."""

    def __init__(self, directory: Path, config: str, environ: dict[str, str]) -> None:
        self.home = directory / "home"
        self.home.mkdir()
        (self.home / "archon.toml").write_text(config)
        hooks = directory / "hooks"
        hooks.mkdir()
        (hooks / "sitecustomize.py").write_text(TATTLE)
        self.tattle = directory / "started"
        self.output = b""
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "ARCHON_HOME": str(self.home),
            "PYTHONPATH": f"{hooks}:{ROOT}",
            "CONTENT_STORAGE_PROVIDER": "none",
            "TATTLE_FILE": str(self.tattle),
            "NO_COLOR": "1",
            **environ,
        }

    def run(self, *arguments: str, code: int | None = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "archon_agent", "--debug", *arguments],
            env=self.environ,
            capture_output=True,
            check=False,
        )
        self.output += done.stdout + done.stderr
        assert code is None or done.returncode == code, done.stderr.decode()
        return done.stdout.decode()

    def leaks(self, secrets: list[bytes]) -> list[str]:
        """Where any form of a secret is found."""
        found = [str(path) for path in self.home.rglob("*") if path.is_file() and _holds(path, secrets)]
        return found + [form.decode() for form in secrets if form in self.output]


def _holds(path: Path, secrets: list[bytes]) -> bool:
    content = path.read_bytes()
    return any(form in content for form in secrets)


@pytest.fixture
def repository(tmp_path: Path) -> BareRepository:
    (tmp_path / "served").mkdir()
    made = BareRepository(tmp_path / "served" / "private.git")
    made.commit(dict(generated_files(5, size=300)))
    return made


@pytest.fixture
def server(tmp_path: Path, repository: BareRepository) -> Iterator[GitHttpServer]:
    authority = trustme.CA()
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(certificate)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with GitHttpServer(
        tmp_path / "served", tokens={"private.git": CANARY}, certificate=certificate
    ) as running:
        yield running


def config(tmp_path: Path, authority: str, *refs: str, more: str = "") -> str:
    listed = ", ".join(f'"{ref}"' for ref in refs)
    return (
        f'[git]\nnetworks = ["127.0.0.0/8"]\nca_file = "{tmp_path}/ca.pem"\n{more}\n'
        f'[git.credentials."{authority}"]\nrefs = [{listed}]\n'
    )


@pytest.mark.slow
def test_a_token(tmp_path: Path, repository: BareRepository, server: GitHttpServer) -> None:
    authority = f"127.0.0.1:{server.port}"
    bench = Bench(tmp_path, config(tmp_path, authority, "env:CANARY"), {"CANARY": CANARY})
    url = server.url("private.git")
    reference = ("--git-credentials-ref", "env:CANARY", "-vv")
    bench.run("plan", "--git-url", url, *reference)
    bench.run("ingest", "--git-url", url, *reference)
    assert not bench.tattle.exists(), bench.tattle.read_text()
    bench.run("run", "--drain", "--no-http", "-vv")
    assert bench.run("results", "--json").count("file_00000") >= 5

    # The host refuses the secret, on both sides.
    repository.commit({"new.py": b"x = 1\n"})
    bench.run("ingest", "--git-url", url, *reference)
    server.tokens["private.git"] = "another"
    bench.run("run", "--drain", "--no-http", "-vv", code=None)
    bench.run("ingest", "--git-url", url, *reference, code=None)
    server.tokens["private.git"] = CANARY

    # The consumer is not configured for the reference; the secret is misspelt into the URL.
    (bench.home / "archon.toml").write_text(config(tmp_path, authority, "env:OTHER"))
    repository.commit({"newer.py": b"y = 1\n"})
    bench.run("ingest", "--git-url", url, *reference)
    bench.run("run", "--drain", "--no-http", "-vv", code=None)
    assert "access_denied" in bench.run("dlq", "list", "--json")
    bench.run("ingest", "--git-url", url.replace("://", f"://user:{CANARY}@"), code=None)
    for mistaken in (CANARY, f"token:{CANARY}", f"env:{CANARY}-{CANARY}"):
        bench.run("ingest", "--git-url", url, "--git-credentials-ref", mistaken, code=None)
        bench.run("ingest", str(ROOT / "core" / "events"), "--git-credentials-ref", mistaken, code=None)
    bench.run("config", "show")
    bench.run("cache", "stats", "--json", code=None)
    used = {seen.authorization for seen in server.seen}
    assert any(value and base64.b64decode(value.split()[1]).endswith(CANARY.encode()) for value in used)
    assert bench.leaks(shapes(CANARY)) == []


@pytest.mark.slow
def test_a_key_in_a_file(tmp_path: Path, repository: BareRepository) -> None:
    (tmp_path / "ssh").mkdir()
    (tmp_path / "ca.pem").write_text(trustme.CA().cert_pem.bytes().decode())
    with SshServer(tmp_path / "ssh", tmp_path / "served") as ssh:
        key = tmp_path / "deploy_key"
        key.write_text(ssh.key)
        key.chmod(0o600)
        more = f'known_hosts = "{ssh.known_hosts()}"'
        text = config(tmp_path, f"127.0.0.1:{ssh.port}", f"file:{key}", more=more)
        bench = Bench(tmp_path, text, {})
        url = ssh.url("private.git")
        bench.run("ingest", "--git-url", url, "--git-credentials-path", str(key), "-vv")
        assert not bench.tattle.exists(), "no ssh, no git"
        bench.run("run", "--drain", "--no-http", "-vv")
        assert bench.run("results", "--json").count("file_00000") >= 5
        wrong = tmp_path / "stranger"
        wrong.write_text(ssh.stranger)
        wrong.chmod(0o600)
        bench.run("ingest", "--git-url", url, "--git-credentials-path", str(wrong), "-vv", code=None)
        wrong.chmod(0o644)
        bench.run("ingest", "--git-url", url, "--git-credentials-path", str(wrong), code=3)
        lines = [line for text in (ssh.key, ssh.stranger) for line in text.splitlines()[2:-1]]
        assert bench.leaks([line.encode() for line in lines]) == []
