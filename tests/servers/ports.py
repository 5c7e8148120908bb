"""Ports of loopback for servers that bind them later."""

from __future__ import annotations

import random
import socket
from typing import Final

# Below Linux's ephemeral range, so that no outgoing connection takes a port before its server does.
_PORTS: Final = range(20_000, 32_000)
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports that are free now, and that this process did not give before."""
    chosen: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        chosen.append(port)
        if len(chosen) == count:
            _given.update(chosen)
            return chosen
    raise RuntimeError("no free ports on loopback")


def free_port() -> int:
    """One such port."""
    return free_ports(1)[0]
