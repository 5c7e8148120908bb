"""The section of archon.toml for Git hosts and the clone cache."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from core.settings.option import Duration, Section, Size, StringList, option

if TYPE_CHECKING:
    from core.safety.url import UrlPolicy

SCHEMES = frozenset({"https", "ssh", "http", "git", "file"})
Positive = Annotated[int, Field(gt=0)]


class HostCredentials(Section):
    """`[git.credentials."host"]` or `"host:port"`: which secrets may be sent to that host, and how.

    `refs` are the credential references that events may name for it. `username` goes with a token in a
    Basic header. `known_hosts` pins the host's SSH keys (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
    """

    refs: StringList
    username: str = "x-access-token"
    scheme: Literal["basic", "bearer"] = "basic"
    known_hosts: Path | None = None


class GitSettings(Section):
    """Git hosts and the clone cache."""

    clone_cache_dir: Path | None = option(
        None,
        "directory of the clone cache; default: git in the cache directory",
        env=("GIT_CLONE_CACHE_DIR",),
    )
    clone_cache_max_size_gb: Annotated[float, Field(gt=0)] = option(
        50, "most the clone cache may hold, in GB (1,073,741,824 bytes)", env=("GIT_CLONE_CACHE_MAX_SIZE_GB",)
    )
    schemes: StringList = option("https,ssh", "schemes a Git URL may have; http, git and file are not safe")
    allowed_hosts: StringList = option("", "hosts that Git URLs may name; empty: every public one")
    networks: StringList = option("", "non-public networks that Git hosts may be in, such as 10.0.0.0/8")
    ca_file: Path | None = option(None, "certificates of authorities that vouch for Git hosts, PEM")
    known_hosts: Path | None = option(None, "SSH keys of Git hosts, where a host's own table names no file")
    lfs: bool = option(False, "fetch the content that Git LFS pointers stand for", flag="git-lfs")
    fetches_in_flight: Positive = option(10, "most fetches from Git hosts at once")
    fetch_deadline: Duration = option("5m", "longest fetch from a repository")
    stall: Duration = option("30s", "longest silence of a Git host")
    max_fetch_bytes: Size = option("2GiB", "most bytes one fetch may bring")
    max_file_bytes: Size = option("100MiB", "largest file taken from Git")
    credentials: dict[str, HostCredentials] = Field(default_factory=dict)

    @field_validator("networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for text in value:
                ip_network(text)
        except ValueError:
            raise ValueError("give networks such as 10.0.0.0/8") from None
        return value

    @field_validator("schemes")
    @classmethod
    def _are_schemes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not set(value) <= SCHEMES:
            raise ValueError(f"give some of {', '.join(sorted(SCHEMES))}")
        return value

    @property
    def cache_bytes(self) -> int:
        """The clone cache's cap in bytes."""
        return int(self.clone_cache_max_size_gb * (1 << 30))

    def url_policy(self) -> UrlPolicy:
        """Which repositories may be named, and which addresses connected to."""
        prefixes = [f"{scheme}://{host}/" for host in self.allowed_hosts for scheme in self.schemes]
        from core.safety.url import UrlPolicy

        return UrlPolicy(
            schemes=frozenset(self.schemes),
            prefixes=tuple(prefixes) if self.allowed_hosts else None,
            networks=tuple(ip_network(text) for text in self.networks),
        )

    def known_addresses(self) -> list[tuple[str, int]]:
        """Host and port of every Git host that these settings name; HTTPS's port unless they say another."""
        default = 443 if "https" in self.schemes else 22
        names = dict.fromkeys([*self.allowed_hosts, *self.credentials])
        return [_address(name, default) for name in names]


def _address(name: str, default: int) -> tuple[str, int]:
    host, _, port = name.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() else (name.strip("[]"), default)
