"""Metrics of a run that ends: nobody can scrape them, so they are left behind or pushed."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, push_to_gateway, write_to_textfile

from core.safety.redact import redact
from core.settings.operations import TelemetrySettings
from core.telemetry.metrics import PUBLISH, Metrics

logger = logging.getLogger(__name__)

JOB = "archon-ingest"
TIMEOUT_S = 5.0


async def export(
    metrics: Metrics, settings: TelemetrySettings, *, now: Callable[[], float] = time.time
) -> None:
    """Write the textfile and push to the gateway, where configured; nothing where nothing ran.

    The gateway keeps one group per host. What fails is only logged: the run itself is done.
    """
    if not metrics.has_counted:
        return
    metrics.state.last_run.labels(PUBLISH).set(now())
    if settings.textfile:
        await _try("written", write_to_textfile, str(settings.textfile), metrics.registry)
    if settings.pushgateway:
        await _try("pushed", _push, settings.pushgateway, metrics.registry)


def _push(url: str, registry: CollectorRegistry) -> None:
    key = {"instance": socket.gethostname()}
    push_to_gateway(url, job=JOB, registry=registry, grouping_key=key, timeout=TIMEOUT_S)


async def _try(verb: str, work: Callable[..., object], *arguments: object) -> None:
    try:
        await asyncio.to_thread(work, *arguments)
    except (OSError, ValueError) as error:
        logger.warning("the metrics are not %s: %s", verb, redact(str(error)))
