"""Opens what archon keeps and talks to: log, indexes, histories, object storage, caches."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Collection
from typing import Final

from core.cache.base import Cache
from core.cache.cap import fitting_cap, lowered
from core.cache.counted import CountedCache
from core.cache.disk import DiskCache
from core.events.common import Source
from core.history.costs import CostHistory
from core.history.store import History
from core.log.base import EventLog
from core.log.embedded import EmbeddedLog
from core.results.index import ResultsIndex
from core.settings import Settings
from core.storage.base import ContentStorageClient
from core.storage.factory import new_storage

_RUN: Final = secrets.token_hex(2)
"""Tells containers apart that have one host name, where every process is number 1."""

logger = logging.getLogger(__name__)

CACHE_KINDS: Final = ("object", "git")


def event_source(service: str = "archon-agent") -> Source:
    """Who this process says it is on the wire."""
    hostname = socket.gethostname()
    return Source(service=service, instance_id=f"{hostname}-{os.getpid()}-{_RUN}", hostname=hostname)


def open_log(settings: Settings) -> EventLog:
    """The event log of these settings, to be entered as a context manager. Raises `ConfigurationError`."""
    if settings.kafka.servers:
        from core.log.kafka import KafkaLog  # only who uses Kafka pays for its client

        return KafkaLog(settings.kafka, client_id=event_source().instance_id)
    return EmbeddedLog(settings.data_dir / "log.sqlite", partitions=settings.log.partitions)


def open_index(settings: Settings) -> ResultsIndex:
    """The local results index, to be entered as a context manager."""
    return ResultsIndex(settings.data_dir / "results.sqlite")


def open_cost_history(settings: Settings) -> CostHistory:
    """The local history of what ingestion used, to be entered as a context manager."""
    return CostHistory(settings.data_dir / "cost.sqlite")


def open_history(settings: Settings) -> History:
    """The local history of how files were delivered, to be entered as a context manager."""
    bounds = settings.history
    return History(settings.data_dir / "history.sqlite", max_age_s=bounds.max_age, max_rows=bounds.max_files)


def open_storage(settings: Settings) -> ContentStorageClient | None:
    """The object storage of these settings, None where there is none. Raises `ConfigurationError`."""
    return new_storage(settings.object_storage, settings.objects_dir)


def open_caches(
    settings: Settings, kinds: Collection[str] = CACHE_KINDS, *, scan: bool = True
) -> dict[str, Cache]:
    """The caches of these `kinds` that are turned on, opened; `scan` as `DiskCache.open`. Blocks.

    Raises as `open_content_cache`.
    """
    caches: dict[str, Cache] = {}
    if "object" in kinds and (content := open_content_cache(settings, scan=scan)):
        caches["object"] = content
    if "git" in kinds:
        from core.git.factory import new_clone_cache  # dulwich costs 60 ms to import

        clones = new_clone_cache(settings.git, settings.clone_cache_dir)
        try:
            clones.open(scan=scan)
        except BaseException:
            for opened in caches.values():
                opened.close()
            raise
        caches["git"] = clones
    return caches


def open_content_cache(settings: Settings, *, scan: bool = True) -> CountedCache | None:
    """The cache of fetched contents, opened; None where it is turned off. Blocks.

    Raises `BackendUnavailable` or `ConfigurationError` where the directory cannot be used.
    """
    if not settings.cache.max_bytes:
        return None
    cap = fitting_cap(settings.content_cache_dir, settings.cache.max_bytes)
    if cap.why:
        logger.warning("%s", lowered("content", settings.cache.max_bytes, cap, "cache.max_size_gb"))
    cache = CountedCache(DiskCache(settings.content_cache_dir, cap.max_bytes))
    cache.open(scan=scan)
    return cache
