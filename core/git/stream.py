"""Git over a two-way stream: SSH, and by setting the plain git:// protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Protocol
from urllib.parse import unquote

from dulwich.client import TraditionalGitClient
from dulwich.protocol import Protocol as PacketProtocol

from core.git.http import raising_err_packets
from core.git.transfer import Transfer
from core.safety.git_url import GitUrl

Read = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Stream:
    """An open connection to a service. `read(n)` gives n bytes, fewer only at the end."""

    read: Read
    write: Callable[[bytes], int | None]
    close: Callable[[], None]
    stderr: IO[bytes] | None = None


class Dialer(Protocol):
    """Opens `service` (`git-upload-pack`) of the repository at `path`, inside the thread's transfer."""

    def __call__(self, service: str, path: str, protocol_version: int) -> Stream: ...


class StreamGitClient(TraditionalGitClient):
    """dulwich's protocol over a stream that `dial` opens for each exchange."""

    def __init__(self, url: GitUrl, dial: Dialer) -> None:
        super().__init__()
        self._url = url
        self._dial = dial

    def _connect(
        self,
        cmd: bytes,
        path: str | bytes,
        protocol_version: int | None = None,
    ) -> tuple[PacketProtocol, Callable[[], bool], IO[bytes] | None]:
        version = 2 if protocol_version is None else protocol_version
        self.protocol_version = version
        stream = self._dial(f"git-{cmd.decode()}", _remote_path(self._url), version)
        protocol = PacketProtocol(raising_err_packets(stream.read), stream.write, stream.close)
        # False: acknowledgements are read after the whole request, never in the middle of it.
        return protocol, lambda: False, stream.stderr


def dial_tcp(url: GitUrl) -> Dialer:
    """A dialer for git://, which neither proves the host nor hides anything."""

    def dial(service: str, path: str, protocol_version: int) -> Stream:
        transfer = Transfer.current()
        connected = transfer.connect(url.host, url.port)
        file = connected.makefile("rb")

        def close() -> None:
            file.close()
            connected.close()

        # The version hides behind a second NUL, where old servers do not look (gitprotocol-pack(5)).
        hidden = f"\0version={protocol_version}\0" if protocol_version else ""
        request = f"{service} {path}\0host={url.authority}\0{hidden}".encode()
        connected.sendall(b"%04x" % (len(request) + 4) + request)
        return Stream(counted(file.read, transfer), connected.sendall, close)

    return dial


def counted(read: Read, transfer: Transfer) -> Read:
    """`read`, with what it brings counted against `transfer`, whose reason outranks any other failure."""

    def reading(size: int) -> bytes:
        try:
            data = read(size)
        except OSError:
            transfer.check()
            raise
        transfer.count(len(data))
        return data

    return reading


def _remote_path(url: GitUrl) -> str:
    path = unquote(url.path)
    return path[1:] if path.startswith("/~") else path
