"""Whether spans are exported; without an endpoint nothing of OpenTelemetry is imported."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.errors import ConfigurationError
from core.progress import Listener, ignore
from core.settings.operations import TelemetrySettings


@asynccontextmanager
async def exporting_spans(settings: TelemetrySettings, service: str) -> AsyncIterator[Listener]:
    """A listener that exports spans as `service` while inside; one that does nothing without an endpoint.

    Raises `ConfigurationError` where an endpoint is set and the extra is not installed.
    """
    if not settings.otlp_endpoint:
        yield ignore
        return
    try:
        from core.telemetry.otel import SpanExport
    except ImportError:
        raise ConfigurationError(
            "telemetry.otlp_endpoint is set, but OpenTelemetry is not installed",
            hint="pip install 'archon-ingest[otel]'",
        ) from None
    export = SpanExport(settings.otlp_endpoint, service)
    try:
        yield export
    finally:
        await asyncio.to_thread(export.close)
