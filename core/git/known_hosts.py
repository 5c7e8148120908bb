"""Which SSH host keys a known_hosts file pins for a host, by the rules of sshd(8).

A name may be exact, hashed (`|1|`), a pattern with `*` and `?`, or negated with `!`; a host on a port other
than 22 is `[name]:port`. A host may have several keys, also of one type, as while it changes its key.
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import paramiko
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey
from paramiko.ssh_exception import SSHException

from core.errors import ConfigurationError
from core.git.errors import HostKeyMismatch

logger = logging.getLogger(__name__)

_AUTHORITY: Final = "@cert-authority"
_REVOKED: Final = "@revoked"


@dataclass(frozen=True, slots=True)
class PinnedKeys:
    """The keys that a host may prove, and those that it may not prove although another line pins them."""

    accepted: tuple[paramiko.PKey, ...]
    revoked: tuple[paramiko.PKey, ...] = ()

    @property
    def types(self) -> frozenset[str]:
        """The types of the accepted keys, such as `ssh-ed25519`."""
        return frozenset(key.get_name() for key in self.accepted)

    def allows(self, offered: paramiko.PKey) -> bool:
        """Whether a host that proves `offered` is the one that is pinned."""
        return offered in self.accepted and offered not in self.revoked


def pinned_keys(path: Path, host: str, port: int) -> PinnedKeys:
    """The keys that the file at `path` pins for a host.

    Raises `ConfigurationError` for a file that cannot be read, or that has only a certificate authority for
    the host: certificates of hosts are not supported. Raises `HostKeyMismatch` if it pins nothing.
    """
    name = host if port == paramiko.config.SSH_PORT else f"[{host}]:{port}"
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the file of SSH host keys {path} cannot be read: {error}") from None
    accepted: list[paramiko.PKey] = []
    revoked: list[paramiko.PKey] = []
    authority = False
    for number, line in enumerate(map(str.strip, lines), 1):
        marker, rest = _marker(line)
        names, _, _ = rest.partition(" ")
        if not names or names.startswith("#") or not _matches(name.lower(), names.split(",")):
            continue
        if marker == _AUTHORITY:
            authority = True
        elif (key := _key(rest, path, number)) is None:
            continue
        elif marker == _REVOKED:
            revoked.append(key)
        elif not marker:
            accepted.append(key)
        else:
            raise ConfigurationError(f"{path}, line {number}: the marker {marker[:40]!r} is not known")
    if not accepted and authority:
        raise ConfigurationError(
            f"{path} has only a certificate authority for {name}, and host certificates are not supported",
            hint="pin the host's own keys: ssh-keyscan, then compare the fingerprints",
        )
    if not accepted:
        raise HostKeyMismatch(f"no SSH host key is pinned for {name}", hint=f"add its line to {path}")
    return PinnedKeys(tuple(accepted), tuple(revoked))


def _marker(line: str) -> tuple[str, str]:
    """The marker of a line, empty without one, and the rest with its fields one space apart."""
    fields = line.split()
    marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
    return marker, " ".join(fields)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a line's list of names is about `name`; one negated match rules the line out."""
    found = False
    for pattern in patterns:
        negated = pattern.startswith("!")
        if _fits(name, pattern.removeprefix("!")):
            if negated:
                return False
            found = True
    return found


def _fits(name: str, pattern: str) -> bool:
    if pattern.startswith("|1|"):
        try:
            return hmac.compare_digest(paramiko.HostKeys.hash_host(name, pattern), pattern)
        except (ValueError, SSHException):
            return False
    # Only * and ? are special: the brackets of [name]:port are not, so fnmatch would misread them.
    parts = re.split(r"([*?])", pattern.lower())
    wild = "".join({"*": ".*", "?": "."}.get(part) or re.escape(part) for part in parts)
    return re.fullmatch(wild, name) is not None


def _key(line: str, path: Path, number: int) -> paramiko.PKey | None:
    """The key of a line; None for a type that is not supported."""
    try:
        entry = HostKeyEntry.from_line(line, number)
    except (InvalidHostKey, SSHException, ValueError, IndexError):
        raise ConfigurationError(f"{path}, line {number}: the key cannot be read") from None
    if entry is None or entry.key is None:
        logger.info("%s, line %d: a key of a type that is not supported", path, number)
        return None
    return entry.key
