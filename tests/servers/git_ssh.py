"""A real OpenSSH server on loopback for one key, and the other ways to old Git hosts: git daemon, dulwich."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Self, cast

import dulwich.server
import dulwich.web
from dulwich.repo import Repo

from tests.bare_repositories import ENVIRONMENT
from tests.servers.ports import free_port

START_S = 60.0


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("the server does not listen")


class SshServer:
    """sshd serving the repositories below `root`. `key` is the client's private key file.

    `accept_version` lets the client ask for protocol v2, which hosts with a default sshd_config do not.
    """

    def __init__(
        self, directory: Path, root: Path, *, accept_version: bool = True, kind: str = "ed25519"
    ) -> None:
        self.root = root
        self.port = free_port()
        self.user = getpass.getuser()
        self._directory = directory
        self._accept_version = accept_version
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("host", "client", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", directory / name], check=True)
        self.key = (directory / "client").read_text()
        self.stranger = (directory / "stranger").read_text()

    def url(self, name: str) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}{self.root}/{name}"

    def known_hosts(self, key: str = "host") -> Path:
        """A file that pins one of the generated keys (`host` is the right one)."""
        kind, value, *_ = (self._directory / f"{key}.pub").read_text().split()
        path = self._directory / f"known_hosts_{key}"
        path.write_text(f"[127.0.0.1]:{self.port} {kind} {value}\n")
        return path

    def __enter__(self) -> Self:
        public = (self._directory / "client.pub").read_text()
        command = 'git-shell -c "$SSH_ORIGINAL_COMMAND"'
        quoted = command.replace('"', '\\"')
        (self._directory / "authorized_keys").write_text(f'restrict,command="{quoted}" {public}')
        (self._directory / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self._directory}/host\n"
            f"AuthorizedKeysFile {self._directory}/authorized_keys\nStrictModes no\nUsePAM no\n"
            f"PasswordAuthentication no\nPidFile none\nLogLevel ERROR\n"
            + ("AcceptEnv GIT_PROTOCOL\n" if self._accept_version else "")
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        assert sshd, "openssh-server is not installed: requirements/apt-test.txt"
        self._process = subprocess.Popen(
            [sshd, "-D", "-e", "-f", str(self._directory / "sshd_config")], start_new_session=True
        )
        _await_port(self.port, self._process)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait()


class GitDaemon:
    """`git daemon`: protocol v2 or v0 on git://."""

    def __init__(self, root: Path, *, protocol_v2: bool = True, config: tuple[str, ...] = ()) -> None:
        self.root = root
        self.port = free_port()
        version = () if protocol_v2 else ("-c", "protocol.version=0")
        options = [part for item in config for part in ("-c", item)]
        self._command = [
            "git", *version, *options, "-c", "safe.directory=*", "-c", "uploadpack.allowFilter=true",
            "daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", f"--port={self.port}",
            f"--base-path={root}", str(root),
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, name: str) -> str:
        return f"git://127.0.0.1:{self.port}/{name}"

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, env=ENVIRONMENT, start_new_session=True, stderr=subprocess.DEVNULL
        )
        _await_port(self.port, self._process)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class DulwichServer:
    """dulwich's HTTP server: protocol v0, no filter, only advertised ids, as hosts of long ago."""

    def __init__(self, repositories: dict[str, Path]) -> None:
        self._repos: dict[str, dulwich.server.BackendRepo] = {
            f"/{name}": Repo(str(path)) for name, path in repositories.items()
        }
        backend = dulwich.server.DictBackend(self._repos)
        app = dulwich.web.make_wsgi_chain(backend)
        self._server = dulwich.web.make_server(
            "127.0.0.1", 0, app, handler_class=_Quiet, server_class=dulwich.web.WSGIServerLogger
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for repo in self._repos.values():
            cast("Repo", repo).close()


class _Quiet(dulwich.web.WSGIRequestHandlerLogger):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""
