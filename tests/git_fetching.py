"""A `GitContentFetcher` over a cache of its own, for tests against real hosts on loopback."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from core.git.clone_cache import CloneCache
from core.git.credentials import CredentialResolver
from core.git.fetcher import GitContentFetcher
from core.git.hosts import GitHosts, tls_context
from core.git.http import HttpSessions
from core.git.lfs import LfsClient
from core.git.secret_providers import SecretProviders, default_providers
from core.git.transfer import TransferLimits
from core.retry import RetryPolicy
from core.safety.url import UrlPolicy
from core.settings.git import HostCredentials

MIB = 1 << 20
LOOPBACK = (ip_network("127.0.0.0/8"),)
POLICY = UrlPolicy(schemes=frozenset({"https", "ssh", "http", "git", "file"}), networks=LOOPBACK)


async def at_once(_seconds: float) -> None:
    """A sleep for tests."""


@dataclass(frozen=True)
class Fetching:
    """The fetcher and its parts."""

    fetcher: GitContentFetcher
    cache: CloneCache
    hosts: GitHosts


@asynccontextmanager
async def fetching(
    directory: Path,
    *,
    cap: int = 256 * MIB,
    limits: TransferLimits | None = None,
    policy: UrlPolicy = POLICY,
    credentials: Mapping[str, HostCredentials] | None = None,
    secrets: Mapping[str, str] | None = None,
    providers: SecretProviders | None = None,
    known_hosts: Path | None = None,
    ca_file: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[object]] = at_once,
    attempts: int = 1,
    max_file_bytes: int = 64 * MIB,
    lfs: bool = False,
    in_flight: int = 10,
) -> AsyncIterator[Fetching]:
    """A fetcher that keeps its clones in `directory`; `secrets` are the environment it sees."""
    limits = limits or TransferLimits(deadline_s=20, stall_s=10, max_bytes=512 * MIB)
    cache = CloneCache(directory, cap, max_object_bytes=max_file_bytes)
    cache.open()
    sessions = HttpSessions(policy, context=tls_context(ca_file))
    resolver = CredentialResolver(
        credentials or {},
        providers or default_providers(secrets or {}),
        known_hosts=known_hosts,
        clock=clock,
    )
    hosts = GitHosts(policy, sessions, resolver)
    fetcher = GitContentFetcher(
        cache,
        hosts,
        limits=limits,
        retry=RetryPolicy(attempts, limits.deadline_s, sleep=sleep),
        in_flight=in_flight,
        lfs=LfsClient(sessions, max_file_bytes) if lfs else None,
    )
    try:
        yield Fetching(fetcher, cache, hosts)
    finally:
        await fetcher.close()


def nothing_is_left(of: Fetching, directory: Path) -> bool:
    """Whether no pack, whole or half, and no reservation is in the cache at `directory`."""
    stats = of.cache.stats()
    left = [path for path in (directory / "clones").rglob("*") if path.suffix in {".pack", ".idx"}]
    return not left and not list(directory.rglob("incoming-*")) and stats.reserved_bytes == 0
