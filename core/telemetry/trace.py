"""W3C trace context: which work caused which, across processes (w3.org/TR/trace-context).

Ids are made and handed on always, which costs nothing; spans are exported only where the extra `otel` is
installed and an endpoint is configured.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

HEADER = "traceparent"
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of work: its trace, its own id, and the id of the work that caused it. Ids are hex."""

    trace_id: str
    span_id: str
    parent_id: str | None = None
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """The header that makes receivers children of this span."""
        return f"00-{self.trace_id}-{self.span_id}-{_SAMPLED if self.sampled else 0:02x}"

    @property
    def header(self) -> tuple[str, bytes]:
        """The header of a message."""
        return HEADER, self.traceparent.encode()

    def child(self, random: Random = os.urandom) -> Span:
        """Work that this span causes."""
        return Span(self.trace_id, _id(8, random), self.span_id, self.sampled)


def new_trace(random: Random = os.urandom) -> Span:
    """The first span of a trace."""
    return Span(_id(16, random), _id(8, random))


def parse(value: str | bytes | None) -> Span | None:
    """The span that a `traceparent` names, None where it is absent or malformed.

    Versions above 00 are read as 00 with more fields behind, as section 3.2.2.1 asks.
    """
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value or ""
    match = _FORM.fullmatch(text.strip())
    if not match:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return Span(trace_id, span_id, None, bool(int(flags, 16) & _SAMPLED))


def received(
    headers: Iterable[tuple[str, bytes]],
    trace_id: str | None,
    span_id: str | None,
    random: Random = os.urandom,
) -> Span:
    """The span of processing a message: a child of its header, else of its envelope, else a new trace."""
    carried = next((value for name, value in headers if name.lower() == HEADER), None)
    cause = parse(carried) or parse(f"00-{trace_id}-{span_id}-01")
    return cause.child(random) if cause else new_trace(random)


def trace_headers(
    trace_id: str | None, span_id: str | None, *, sampled: bool
) -> tuple[tuple[str, bytes], ...]:
    """The headers of what the span causes; none where there is no span."""
    span = parse(f"00-{trace_id}-{span_id}-{int(sampled):02x}")
    return (span.header,) if span else ()


def process_span(environ: Callable[[str], str | None] = os.environ.get, random: Random = os.urandom) -> Span:
    """The span of this process: a child of the `TRACEPARENT` it was started with, else a new trace."""
    cause = parse(environ("TRACEPARENT"))
    return cause.child(random) if cause else new_trace(random)


def _id(size: int, random: Random) -> str:
    """Random, and not all zero, which would be no id."""
    while not any(value := random(size)):
        pass
    return value.hex()
