"""Trace context by the W3C's rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.telemetry.trace import Span, new_trace, parse, process_span, received, trace_headers

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
EXAMPLE = f"00-{TRACE}-{SPAN}-01"


def test_the_recommendations_own_example() -> None:
    span = parse(EXAMPLE)
    assert span == Span(TRACE, SPAN)
    assert span.traceparent == EXAMPLE


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "garbage",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"{EXAMPLE}-extra",
        f"{EXAMPLE}x",
        b"\xff\xfe",
    ],
)
def test_malformed_headers_are_no_parents(value: str | bytes | None) -> None:
    assert parse(value) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert parse(f"cc-{TRACE}-{SPAN}-01-what-the-future-brings") == Span(TRACE, SPAN)


def test_whether_it_is_sampled_is_handed_on() -> None:
    span = parse(f"00-{TRACE}-{SPAN}-00")
    assert span
    assert not span.child().sampled
    assert span.child().traceparent.endswith("-00")


@given(st.binary(max_size=200))
def test_nothing_a_header_can_hold_raises(value: bytes) -> None:
    parse(value)


def test_what_is_written_is_read() -> None:
    span = new_trace()
    assert parse(span.traceparent) == Span(span.trace_id, span.span_id)
    child = span.child()
    assert (child.trace_id, child.parent_id) == (span.trace_id, span.span_id)
    assert child.span_id != span.span_id


def test_ids_of_zeros_are_drawn_again() -> None:
    draws = iter([bytes(16), b"\1" * 16, bytes(8), b"\2" * 8])
    assert new_trace(lambda _size: next(draws)) == Span("01" * 16, "02" * 8)


def test_the_header_wins_over_the_envelope() -> None:
    envelope = ("a" * 32, "b" * 16)
    assert received([("TraceParent", EXAMPLE.encode())], *envelope).trace_id == TRACE
    from_envelope = received([], *envelope)
    assert (from_envelope.trace_id, from_envelope.parent_id) == envelope
    assert received([("traceparent", b"bad")], *envelope).trace_id == "a" * 32


def test_without_a_cause_a_trace_begins() -> None:
    span = received([], None, None)
    assert span.parent_id is None
    assert trace_headers(span.trace_id, span.span_id, sampled=True) == (span.header,)
    assert trace_headers(None, None, sampled=True) == ()


def test_a_process_continues_the_trace_it_was_started_in() -> None:
    assert process_span({"TRACEPARENT": EXAMPLE}.get).parent_id == SPAN
    assert process_span(lambda _name: None).parent_id is None
