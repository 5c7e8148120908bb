"""Builds the Git fetcher from settings."""

from __future__ import annotations

import asyncio
from pathlib import Path

from core.git.clone_cache import CloneCache
from core.git.credentials import CredentialResolver
from core.git.fetcher import GitContentFetcher
from core.git.hosts import GitHosts, tls_context
from core.git.http import HttpSessions
from core.git.lfs import LfsClient
from core.git.secret_providers import default_providers
from core.git.transfer import TransferLimits
from core.retry import RetryPolicy
from core.settings.git import GitSettings


def new_clone_cache(settings: GitSettings, directory: Path) -> CloneCache:
    """The clone cache in `directory`, not opened yet."""
    return CloneCache(directory, settings.cache_bytes, max_object_bytes=settings.max_file_bytes)


async def open_fetcher(settings: GitSettings, directory: Path, *, attempts: int) -> GitContentFetcher:
    """A fetcher whose clones are in `directory`; the caller closes it.

    Raises `ConfigurationError` or `BackendUnavailable` where the directory cannot be used.
    """
    policy = settings.url_policy()
    sessions = HttpSessions(
        policy, context=tls_context(settings.ca_file), per_host=settings.fetches_in_flight
    )
    resolver = CredentialResolver(settings.credentials, default_providers(), known_hosts=settings.known_hosts)
    cache = new_clone_cache(settings, directory)
    await asyncio.to_thread(cache.open)
    return GitContentFetcher(
        cache,
        GitHosts(policy, sessions, resolver),
        limits=TransferLimits(settings.fetch_deadline, settings.stall, settings.max_fetch_bytes),
        retry=RetryPolicy(attempts, settings.fetch_deadline),
        in_flight=settings.fetches_in_flight,
        lfs=LfsClient(sessions, settings.max_file_bytes) if settings.lfs else None,
    )
