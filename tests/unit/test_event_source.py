"""Who a process says it is."""

from __future__ import annotations

import socket
import subprocess
import sys

AS_IN_A_CONTAINER = """
import os
os.getpid = lambda: 1
from core.assembly.stores import event_source
assert event_source() == event_source()
print(event_source().instance_id)
"""


def test_two_containers_with_one_host_name_are_two_agents() -> None:
    """Every container's process is number 1, and a compose file may give all of them one host name."""
    command = [sys.executable, "-c", AS_IN_A_CONTAINER]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2))
    assert first.stdout != second.stdout
    assert all(name.startswith(f"{socket.gethostname()}-1-") for name in (first.stdout, second.stdout))
