"""SSH to Git hosts with paramiko: pinned host keys, private keys in memory only, no user's ~/.ssh."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import IO, Final, cast

import paramiko
from paramiko.ssh_exception import AuthenticationException, PasswordRequiredException, SSHException

from core.errors import AccessDenied, ConfigurationError
from core.git.credentials import KeyLogin
from core.git.errors import HostKeyMismatch, HostMisbehaved
from core.git.known_hosts import PinnedKeys, pinned_keys
from core.git.stream import Dialer, Stream, counted
from core.git.transfer import CONNECT_S, Transfer
from core.safety.display import display
from core.safety.git_url import GitUrl
from core.safety.redact import redact

DEFAULT_USER: Final = "git"
WINDOW_BYTES: Final = 8 << 20
BUFFER_BYTES: Final = 1 << 16
_KEYS: Final = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)

# A host's refusal is ours to report, once; paramiko's own log would repeat it with a traceback.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


def dial_ssh(url: GitUrl, login: KeyLogin, known_hosts: Path) -> Dialer:
    """A dialer for SSH as `url.user` (default `git`).

    Dialing raises `HostKeyMismatch` unless the host proves a key that `known_hosts` pins for it,
    `AccessDenied` when it refuses ours, `ConfigurationError` for unusable files, else `BackendUnavailable`.
    """

    def dial(service: str, path: str, protocol_version: int) -> Stream:
        transfer = Transfer.current()
        pinned = pinned_keys(known_hosts, url.host, url.port)
        key = _private_key(login.private_key, url)
        transport = paramiko.Transport(transfer.connect(url.host, url.port), default_window_size=WINDOW_BYTES)
        transfer.on_stop(transport.close)
        try:
            _handshake(transport, url, pinned, key)
            return _run(transport, service, path, protocol_version, transfer)
        except (SSHException, EOFError, OSError) as error:
            transport.close()
            transfer.check()
            said = display(redact(str(error)), 200) or type(error).__name__
            raise HostMisbehaved(f"{url.authority} broke off: {said}") from None
        except BaseException:
            transport.close()
            raise

    return dial


def _handshake(transport: paramiko.Transport, url: GitUrl, pinned: PinnedKeys, key: paramiko.PKey) -> None:
    options = transport.get_security_options()
    options.key_types = [name for name in options.key_types if _family(name) in pinned.types]
    try:
        transport.start_client(timeout=CONNECT_S)
    except paramiko.ssh_exception.IncompatiblePeer:
        raise _mismatch(url) from None
    offered = transport.get_remote_server_key()
    if not pinned.allows(offered):
        raise _mismatch(url)
    try:
        transport.auth_publickey(url.user or DEFAULT_USER, key)
    except AuthenticationException:
        raise AccessDenied(f"{url.authority} refuses the SSH key") from None


def _run(
    transport: paramiko.Transport, service: str, path: str, protocol_version: int, transfer: Transfer
) -> Stream:
    channel = transport.open_session(timeout=CONNECT_S)
    channel.settimeout(transfer.limits.stall_s)
    if protocol_version:
        channel.set_environment_variable("GIT_PROTOCOL", f"version={protocol_version}")
    quoted = path.replace("'", "'\\''")
    channel.exec_command(f"{service} '{quoted}'")
    reader = channel.makefile("rb", BUFFER_BYTES)

    def close() -> None:
        channel.close()
        transport.close()

    stderr = cast("IO[bytes]", channel.makefile_stderr("rb"))
    return Stream(counted(reader.read, transfer), channel.sendall, close, stderr)


def _private_key(text: str, url: GitUrl) -> paramiko.PKey:
    for kind in _KEYS:
        try:
            return kind.from_private_key(io.StringIO(text))
        except PasswordRequiredException:
            raise ConfigurationError(
                f"the SSH key for {url.authority} is encrypted",
                hint="keep a key without passphrase for machines",
            ) from None
        except (SSHException, ValueError, IndexError):
            continue
    raise ConfigurationError(
        f"the credential for {url.authority} is not an Ed25519, ECDSA or RSA private key"
    )


def _family(algorithm: str) -> str:
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _mismatch(url: GitUrl) -> HostKeyMismatch:
    return HostKeyMismatch(
        f"{url.authority} does not prove the SSH key that is pinned for it",
        hint="somebody may be in between; if the host changed its key, check it and pin the new one",
    )
