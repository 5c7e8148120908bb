"""SeaweedFS's S3 gateway: an independent S3 server with signatures, encryption, policies and lifecycle."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.ports import free_port
from tests.servers.process import ServerProcess
from tests.servers.s3 import S3Server

GROUP = "s3"
"""The xdist group of the tests that need it: it takes 590 MB, so one worker and one server."""

ACCESS_KEY, SECRET_KEY = "test-admin", "test-admin-secret-key"


@contextmanager
def run(directory: Path) -> Iterator[S3Server]:
    """A server with one administrator; killed outright, since it takes 20 s to stop politely."""
    (data := directory / "data").mkdir(parents=True)
    identities = [
        {
            "name": "admin",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
    ]
    (directory / "s3.json").write_text(json.dumps({"identities": identities}))
    port = free_port()
    flags = {
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "dir": data,
        "master.port": free_port(),
        "master.port.grpc": free_port(),
        "master.volumeSizeLimitMB": 64,
        "volume.port": free_port(),
        "volume.port.grpc": free_port(),
        "volume.max": 2000,
        "volume.preStopSeconds": 1,
        "filer": "true",
        "filer.port": free_port(),
        "filer.port.grpc": free_port(),
        "s3": "true",
        "s3.port": port,
        "s3.port.grpc": free_port(),
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.config": directory / "s3.json",
    }
    argv = [str(Path(sys.executable).parent / "weed"), "server", *(f"-{k}={v}" for k, v in flags.items())]
    environ = {"WEED_S3_SSE_KEY": "0f" * 32}
    with ServerProcess(argv, directory / "weed.log", environ=environ, cwd=directory) as process:
        process.wait_until(lambda: _answers(port))
        yield S3Server("SeaweedFS", port, ACCESS_KEY, SECRET_KEY)


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
    except urllib.error.HTTPError as error:
        return error.code == 403
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for the session."""
    with run(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server
