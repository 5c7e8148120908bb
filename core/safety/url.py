"""URLs from strangers: which may be asked for, and which addresses may be connected to.

A URL is checked as text (`UrlPolicy.check`), then its host is resolved once and every address it has
is checked (`UrlPolicy.resolve`); connect to one of these addresses, with the URL's host for SNI and Host.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import SplitResult, unquote, urlsplit

from core.errors import BackendUnavailable, UnsafeInput
from core.safety.display import display
from core.safety.redact import redact

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
AddressLookup = Callable[[str, int], Sequence[str]]

URL_LIMIT = 8192
"""Characters; a presigned link with a role's session token stays below 4,000."""

DEFAULT_PORTS = {"http": 80, "https": 443, "ssh": 22, "git": 9418}

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\]")
_PLAIN = re.compile(r"[!-~]*")
_DOT_SEGMENT = re.compile(r"(?:^|[/\\])\.{1,2}(?:[/\\]|\Z)")


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


# IANA's special-purpose registry (RFC 6890 and its updates) less what is globally reachable.
_SPECIAL_V4 = _networks(
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
    "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
)  # fmt: skip
# Only 2000::/3 is global unicast (RFC 4291); these parts of it are not for the public either.
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = _networks("2001::/23", "2001:db8::/32", "3fff::/20")
# No setting opens these: link-local, multicast, and where clouds serve machine credentials.
_NEVER = _networks(
    "0.0.0.0/8", "169.254.0.0/16", "100.100.100.200/32", "192.0.0.192/32", "224.0.0.0/4", "240.0.0.0/4",
    "fe80::/10", "fd00:ec2::/32", "fd20:ce::/32", "ff00::/8", "::/128",
)  # fmt: skip
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")


def _lookup(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in found]


@dataclass(frozen=True, slots=True)
class UrlPolicy:
    """Which URLs and addresses may be used.

    `schemes` are lower-case. `prefixes` are the allowed beginnings, an origin and a path that ends in
    "/" (`https://host:port/bucket/`); None allows every host. `networks` are the non-public networks
    that configuration opens (loopback, a cluster's private range).
    """

    schemes: frozenset[str] = frozenset({"https"})
    prefixes: tuple[str, ...] | None = None
    networks: tuple[Network, ...] = ()
    lookup: AddressLookup = field(default=_lookup, repr=False, compare=False)

    def check(self, url: str) -> SplitResult:
        """The parts of `url` if it may be asked for; nothing is resolved yet.

        Raises UnsafeInput for another scheme, an origin or path outside `prefixes`, userinfo, a
        fragment, dot segments, anything but printable ASCII, more than 8,192 characters, and a host
        that is an address which may not be connected to.
        """
        parts = _split(url)
        if problem := self._problem(parts):
            raise UnsafeInput(f"{_show(url)} is not allowed: {problem}")
        if self.prefixes is not None and not any(_within(parts, prefix) for prefix in self.prefixes):
            raise UnsafeInput(
                f"{_show(url)} is not on the list of allowed origins",
                hint="allowed: " + (", ".join(self.prefixes) or "none is configured"),
            )
        if (address := _literal(parts.hostname or "")) is not None:
            self.check_address(address, parts.hostname or "")
        return parts

    def _problem(self, parts: SplitResult) -> str | None:
        if parts.scheme not in self.schemes:
            return f"only {', '.join(sorted(self.schemes))}"
        if "@" in parts.netloc:
            return "it carries a user name or password"
        if parts.fragment:
            return "it has a fragment"
        if _DOT_SEGMENT.search(unquote(parts.path)):
            return "its path has dot segments"
        return None

    def check_address(self, address: str | Address, host: str = "") -> None:
        """Raise UnsafeInput unless `address` is public or in one of `networks`.

        IPv4 inside IPv6 (mapped, NAT64 64:ff9b::/96, 6to4) is judged by the IPv4 address.
        """
        found = ip_address(address) if isinstance(address, str) else address
        inner = _embedded(found)
        forbidden = any(inner in network for network in _NEVER)
        opened = any(inner in network for network in self.networks)
        if forbidden or not (opened or _is_public(inner)):
            where = f"{display(host)} has the address {found}" if host and host != str(found) else str(found)
            raise UnsafeInput(
                f"{where}, which is not public",
                hint=None if forbidden else "open its network in the settings if that is meant",
            )

    def resolve(self, host: str, port: int) -> tuple[Address, ...]:
        """Every address of `host`, each checked; blocking.

        Raises UnsafeInput if any of them may not be connected to, `BackendUnavailable` if there is none.
        """
        try:
            texts = self.lookup(host, port)
            addresses = tuple(dict.fromkeys(ip_address(text) for text in texts))
        except (OSError, UnicodeError, ValueError):
            addresses = ()
        if not addresses:
            raise BackendUnavailable(f"the host {display(host)} cannot be resolved")
        for address in addresses:
            self.check_address(address, host)
        return addresses


def origin_of(url: str) -> str:
    """`scheme://host[:port]`, lower-case, the default port left out. Raises UnsafeInput if malformed."""
    parts = _split(url)
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    port = _port(parts)
    suffix = "" if port == DEFAULT_PORTS.get(parts.scheme) else f":{port}"
    return f"{parts.scheme}://{shown}{suffix}"


def _split(url: str) -> SplitResult:
    if len(url) > URL_LIMIT:
        raise UnsafeInput(f"{_show(url[:80])} is longer than {URL_LIMIT} characters")
    if not _PLAIN.fullmatch(url) or "\\" in url or url.endswith("#"):
        raise UnsafeInput(f"{_show(url)} is not a URL: it has characters that must be encoded")
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        bare = host[: host.rindex("]") + 1] if host.startswith("[") else host.partition(":")[0]
        well_formed = bool(parts.scheme and _HOST.fullmatch(bare)) and (parts.port is None or parts.port > 0)
    except ValueError:
        well_formed = False
    if not well_formed:
        raise UnsafeInput(f"{_show(url)} is not a URL of the form scheme://host/path")
    return parts


def _show(url: str) -> str:
    return display(redact(url).partition("?")[0], 200)


def _port(parts: SplitResult) -> int | None:
    return parts.port or DEFAULT_PORTS.get(parts.scheme)


def _within(parts: SplitResult, prefix: str) -> bool:
    allowed = _prefix(prefix)
    same_origin = (parts.scheme, parts.hostname, _port(parts)) == (
        allowed.scheme,
        allowed.hostname,
        _port(allowed),
    )
    return same_origin and parts.path.startswith(allowed.path or "/")


@lru_cache(maxsize=64)
def _prefix(prefix: str) -> SplitResult:
    return urlsplit(prefix)


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _embedded(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one, where there is one."""
    if isinstance(address, IPv6Address):
        if address in _MAPPED or address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        if address in _SIX_TO_FOUR:
            return IPv4Address((int(address) >> 80) & 0xFFFFFFFF)
    return address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)
