"""Spans to an OpenTelemetry collector, over OTLP/HTTP. Imported only where an endpoint is configured."""

from __future__ import annotations

import time
from collections.abc import Callable

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from core import __version__
from core.progress import RunEvent, SpanEnded

EXPORT_TIMEOUT_S = 5.0


class SpanExport:
    """A `Listener` that exports every sampled span, in the background; `close` flushes."""

    def __init__(self, endpoint: str, service: str, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._ids = _GivenIds()
        resource = Resource.create({"service.name": service, "service.version": __version__})
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )
        url = f"{endpoint.rstrip('/')}/v1/traces"
        exporter = OTLPSpanExporter(endpoint=url, timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("archon", __version__)

    def __call__(self, event: RunEvent) -> None:
        if isinstance(event, SpanEnded) and event.sampled:
            self._export(event)

    def _export(self, event: SpanEnded) -> None:
        ended = self._now_ns()
        self._ids.trace_id, self._ids.span_id = int(event.trace_id, 16), int(event.span_id, 16)
        span = self._tracer.start_span(
            event.name,
            context=_parent(event),
            kind=SpanKind[event.kind.upper()],
            start_time=ended - round(event.seconds * 1e9),
            attributes={
                "archon.project": event.project,
                "archon.correlation_id": event.job,
                "archon.files": event.files,
            },
        )
        if event.error:
            span.set_status(Status(StatusCode.ERROR, event.error))
        span.end(ended)

    def close(self) -> None:
        """Export what is left. Blocks for a few seconds at most."""
        self._provider.shutdown()


class _GivenIds(IdGenerator):
    """Ids that were made where the work began, not here."""

    trace_id = 0
    span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


def _parent(event: SpanEnded) -> Context | None:
    if event.parent_id is None:
        return None
    flags = TraceFlags(TraceFlags.SAMPLED)
    context = SpanContext(
        int(event.trace_id, 16), int(event.parent_id, 16), is_remote=True, trace_flags=flags
    )
    return set_span_in_context(NonRecordingSpan(context))
