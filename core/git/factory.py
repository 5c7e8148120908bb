"""Builds the Git fetcher from settings."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from core.cache.cap import fitting_cap, lowered
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

logger = logging.getLogger(__name__)


def new_clone_cache(settings: GitSettings, directory: Path) -> CloneCache:
    """The clone cache in `directory`, not opened yet."""
    cap = fitting_cap(directory, settings.cache_bytes)
    if cap.why:
        logger.warning("%s", lowered("clone", settings.cache_bytes, cap, "git.clone_cache_max_size_gb"))
    return CloneCache(directory, cap.max_bytes, max_object_bytes=settings.max_file_bytes)


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
