"""One exchange with a Git host: its limits in time and bytes, and the way to stop it from another thread."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Self

from core.errors import ArchonError, BackendUnavailable, ContentTooLarge, DeadlineExceeded
from core.safety.display import display
from core.safety.url import UrlPolicy

CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """`deadline_s` in all, `stall_s` without a byte, `max_bytes` received."""

    deadline_s: float = 300.0
    stall_s: float = 30.0
    max_bytes: int = 2 << 30


class Transfer:
    """Enter it around blocking calls to one host; they end, at the latest, with the deadline.

    `stop` may come from any thread: it shuts the sockets, so that a blocked read returns at once, and
    every later call raises the reason given. `received` counts bytes off the network.
    """

    def __init__(self, host: str, policy: UrlPolicy, limits: TransferLimits) -> None:
        self.host = host
        self.limits = limits
        self.received = 0
        self._policy = policy
        self._lock = threading.Lock()
        self._stopped: ArchonError | None = None
        self._closers: list[Callable[[], None]] = []
        self._twins: list[socket.socket] = []
        self._timer = threading.Timer(limits.deadline_s, self._expire)
        self._timer.daemon = True
        self._token: Token[Transfer] | None = None

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._closers.clear()
            for twin in self._twins:
                twin.close()
            self._twins.clear()
        if self._token:
            _current.reset(self._token)

    @staticmethod
    def current() -> Transfer:
        """The transfer that the calling thread is in."""
        return _current.get()

    def stop(self, reason: ArchonError) -> None:
        """End the exchange; the first reason counts."""
        with self._lock:
            self._stopped = self._stopped or reason
            closers, self._closers = self._closers, []
        for close in closers:
            with suppress(OSError):
                close()

    def check(self) -> None:
        """Raise the reason if the exchange was stopped."""
        if self._stopped:
            raise self._stopped

    def count(self, size: int) -> None:
        """Account for `size` bytes received. Raises `ContentTooLarge` past the cap."""
        self.received += size
        if self.received > self.limits.max_bytes:
            self.stop(
                ContentTooLarge(
                    f"{self.host} sent more than {self.limits.max_bytes:,} bytes",
                    hint="raise git.max_fetch_bytes if the repository is really that large",
                )
            )
        self.check()

    def on_stop(self, close: Callable[[], None]) -> None:
        """Call `close` if the exchange is stopped; at once if it was."""
        with self._lock:
            if not self._stopped:
                self._closers.append(close)
                return
        self.check()

    def connect(self, host: str, port: int) -> socket.socket:
        """A connected socket to a checked address of `host`, whose reads fail after `stall_s`.

        Raises UnsafeInput for an address that the policy refuses, else `BackendUnavailable`.
        """
        failure: OSError | None = None
        for address in self._policy.resolve(host, port):
            self.check()
            try:
                connected = socket.create_connection((str(address), port), CONNECT_S)
            except OSError as error:
                failure = error
                continue
            connected.settimeout(self.limits.stall_s)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.hold(connected)
            return connected
        why = failure.strerror or str(failure) if failure else "no address"
        raise BackendUnavailable(f"{display(host)} port {port} cannot be reached: {why}")

    def hold(self, connected: socket.socket) -> None:
        """Shut `connected` when stopped, also after TLS has taken its descriptor over."""
        twin = socket.socket(fileno=os.dup(connected.fileno()))
        with self._lock:
            self._twins.append(twin)
        self.on_stop(lambda: twin.shutdown(socket.SHUT_RDWR))

    def _expire(self) -> None:
        self.stop(DeadlineExceeded(f"{self.host} took longer than {self.limits.deadline_s:g} s"))


_current: ContextVar[Transfer] = ContextVar("transfer")
