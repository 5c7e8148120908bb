"""A broker that comes as a Python wheel, for machines without Java or Maven.

It keeps the log's whole contract. It does not evict members that died and hangs a group in which somebody
commits during a rebalance, so tests of rebalances need Apache Kafka.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.brokers.kafka.start import BUILD, locked
from tests.servers.ports import free_ports

REQUIREMENTS = Path(__file__).with_name("noida.txt")


class Noida:
    """One noida-db process that speaks Kafka's protocol."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[str] | None = None

    @property
    def servers(self) -> str:
        """Its bootstrap server."""
        return f"127.0.0.1:{self.port}"

    def start(self, timeout_s: float = 30) -> None:
        """Install it the first time, start it, and wait until it listens."""
        words = ("start", "--only", "kafka", "--kafka-port", str(self.port))
        self._process = subprocess.Popen(
            [str(_program()), *words, "--data-dir", str(self.directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout
        ends = time.monotonic() + timeout_s
        for line in self._process.stdout:
            if str(self.port) in line:
                return
            if time.monotonic() > ends:
                break
        self.stop()
        raise RuntimeError("noida-db did not start")

    def stop(self) -> None:
        """End it."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _program() -> Path:
    target = BUILD / "noida"
    with locked(BUILD / "noida.lock"):
        if not (target / "noida_db").is_dir():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
            subprocess.run([*pip, "--target", str(target), "-r", str(REQUIREMENTS)], check=True, timeout=300)
    return target / "noida_db" / "noida-db"
