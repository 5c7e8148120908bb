"""ministack: AWS's S3, IAM and Secrets Manager on loopback, with authentication and policies enforced.

It pins another botocore than archon, so it lives in an environment of its own, made at its first use from
requirements/ministack.txt.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.servers.ports import free_port
from tests.servers.process import ServerProcess
from tests.servers.s3 import S3Server

_EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:*", "secretsmanager:*"], "Resource": "*"}],
}
ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements" / "ministack.txt"


def environment() -> Path:
    """The environment's bin directory; made once for each content of the requirements."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    base = ROOT / ".venv"
    base.mkdir(exist_ok=True)
    directory = base / f"ministack-{digest}"
    with (base / "ministack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "ready").exists():
            venv.create(directory, with_pip=True, clear=True)
            pip = str(directory / "bin" / "pip")
            install = [pip, "install", "--quiet", "--no-deps", "--require-hashes", "-r", str(REQUIREMENTS)]
            subprocess.run(install, check=True)
            (directory / "ready").touch()
    return directory / "bin"


@contextmanager
def run(directory: Path) -> Iterator[S3Server]:
    """A server with one user who may do everything in S3 and Secrets Manager."""
    directory.mkdir(exist_ok=True)
    port = free_port()
    environ = {"AUTH": "true", "GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "HOME": str(directory)}
    argv = [str(environment() / "ministack")]
    with ServerProcess(argv, directory / "ministack.log", environ=environ, cwd=directory) as process:
        process.wait_until(lambda: _answers(port))
        root = S3Server("ministack", port, "test", "test")
        keys = new_user(root, "admin", _EVERYTHING)
        yield S3Server("ministack", port, *keys)


def new_user(server: S3Server, name: str, policy: dict[str, Any]) -> tuple[str, str]:
    """Keys of a new user who may do what an IAM policy allows."""
    iam = server.client("iam", access_key="test", secret_key="test")
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="granted", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/_ministack/health", timeout=1)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for the session."""
    with run(tmp_path_factory.mktemp("ministack")) as server:
        yield server
