"""Podman under test: images without a registry, a network of their own, containers by name."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROGRAMS = ("podman", "runc", "mmdebstrap", "iptables")
PYTHON_IMAGE = "localhost/archon-test/python:3.11-bookworm"
AGENT_IMAGE = "localhost/archon-test/agent"


def podman(*arguments: str | Path, timeout_s: float = 60, check: bool = True) -> str:
    """Run podman; what it printed. Raises AssertionError with its complaints where it fails."""
    done = subprocess.run(
        ["podman", *map(str, arguments)],
        env={**os.environ, "CONTAINERS_CONF": str(HERE / "containers.conf")},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert not check or done.returncode == 0, f"podman {' '.join(map(str, arguments))}: {done.stderr}"
    return done.stdout.strip()


def obstacle() -> str | None:
    """What keeps containers from running on this machine, by name; None where they run."""
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        return f"needs {', '.join(missing)}"
    if os.geteuid() != 0:
        return "needs root: a network of containers, and mmdebstrap"
    try:
        backend = podman("info", "--format", "{{.Host.NetworkBackend}}")
    except AssertionError as error:
        return f"needs a working podman: {error}"
    return None if backend == "netavark" else f"needs the packages netavark and aardvark-dns, has {backend}"


def build_agent() -> str:
    """The image's id, built from this work tree; unchanged layers come from podman's cache."""
    if not podman("image", "ls", "--quiet", PYTHON_IMAGE):
        environment = {**os.environ, "CONTAINERS_CONF": str(HERE / "containers.conf")}
        subprocess.run([HERE / "make-python-image", PYTHON_IMAGE], env=environment, check=True, timeout=600)
    arguments = ("--pull=never", "--network=host", "--format=docker", "--quiet")
    base = (
        "--build-arg",
        f"PYTHON_IMAGE={PYTHON_IMAGE}",
        "--volume",
        f"{HERE / 'pip.conf'}:/etc/pip.conf:ro",
    )
    return podman("build", *arguments, *base, "--tag", AGENT_IMAGE, ROOT, timeout_s=900)


class Container:
    """A container that runs in the background."""

    def __init__(self, name: str, *arguments: str) -> None:
        """`arguments` are those of `podman run` after the name: options, image, command."""
        self.name = name
        podman("run", "--detach", "--pull=never", "--name", name, *arguments)

    def inspect(self, what: str) -> Any:
        """A part of `podman inspect`, by its dotted path."""
        (found,) = json.loads(podman("inspect", self.name))
        for key in what.split("."):
            found = found[key]
        return found

    @property
    def running(self) -> bool:
        state: bool = self.inspect("State.Running")
        return state

    @property
    def exit_code(self) -> int:
        code: int = self.inspect("State.ExitCode")
        return code

    def logs(self) -> str:
        """stdout and stderr."""
        done = subprocess.run(
            ["podman", "logs", self.name],
            env={**os.environ, "CONTAINERS_CONF": str(HERE / "containers.conf")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.stdout

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command inside."""
        return podman("exec", self.name, *command, check=check)

    def start(self) -> None:
        podman("start", self.name)

    def stop(self, grace_s: int) -> None:
        """SIGTERM, and SIGKILL after the grace time."""
        podman("stop", "--time", str(grace_s), self.name, timeout_s=grace_s + 30)

    def kill(self) -> None:
        podman("kill", "--signal", "KILL", self.name)
        podman("wait", self.name)

    def remove(self) -> None:
        podman("rm", "--force", "--time", "0", self.name, check=False)

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
        """Poll until `condition` holds; fails with the container's logs when it ends or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if not self.running or time.monotonic() > deadline:
                raise AssertionError(f"{self.name}: not {what}\n{self.logs()[-4000:]}")
            time.sleep(0.1)


def get(url: str) -> tuple[int, str]:
    """Status and body; 0 where nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()
