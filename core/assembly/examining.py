"""Checks of everything that the settings name, for `archon-agent doctor`."""

from __future__ import annotations

from contextlib import AsyncExitStack

from core.assembly.parts import storage_to_check
from core.assembly.stores import open_caches, open_log
from core.cache.counters import CacheStats
from core.checks import caches_check, dependency_checks, pool_check
from core.intelligence.pool import AnalyzerPool
from core.settings import Settings
from core.telemetry.health import HealthMonitor, Report

# A doctor may wait longer than a probe: cold processes, cold connections.
DOCTOR_PATIENCE_S = 15.0


async def examine(settings: Settings) -> Report:
    """Run every check of what these settings depend on, without starting anything that stays."""
    agent = settings.agent
    async with AsyncExitStack() as stack:
        analyzer = await stack.enter_async_context(AnalyzerPool(workers=1, deadline_s=agent.parse_deadline))
        storage = await storage_to_check(settings, stack)
        checks = dependency_checks(settings, lambda: open_log(settings), pool_check(analyzer), storage)
        checks.append(caches_check(lambda: _cache_figures(settings)))
        monitor = HealthMonitor(checks, deadline_s=max(DOCTOR_PATIENCE_S, settings.health.check_deadline))
        stack.push_async_callback(monitor.close)
        return await monitor.report()


def _cache_figures(settings: Settings) -> dict[str, CacheStats]:
    caches = open_caches(settings, scan=False)
    try:
        return {kind: cache.stats() for kind, cache in caches.items()}
    finally:
        for cache in caches.values():
            cache.close()
