"""A backend that fails is left alone, probed once, and asked again when it answers."""

from __future__ import annotations

import pytest

from core.breaker import MOST_BREAKERS, Breakers, BreakerState, CircuitBreaker
from core.errors import AccessDenied, BackendUnavailable, ContentMissing, DeadlineExceeded
from core.progress import BreakerChanged, RunEvent

DOWN = BackendUnavailable("no route")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def breaker(clock: Clock, told: list[RunEvent] | None = None) -> CircuitBreaker:
    events: list[RunEvent] = [] if told is None else told
    return CircuitBreaker(
        "git_reference", "host", side="consumer", failures=3, pause_s=10, clock=clock, listener=events.append
    )


def opened(clock: Clock, told: list[RunEvent] | None = None) -> CircuitBreaker:
    it = breaker(clock, told)
    for _ in range(3):
        assert it.admit()
        it.record(DOWN)
    return it


def test_it_opens_after_failures_in_a_row_only() -> None:
    it = breaker(Clock())
    for error in (DOWN, DOWN, None, DOWN, DeadlineExceeded("slow")):
        it.record(error)
    assert it.admit()
    it.record(DOWN)
    assert it.state is BreakerState.OPEN
    assert not it.admit()


@pytest.mark.parametrize("error", [AccessDenied("no"), ContentMissing("404")])
def test_an_answer_is_no_failure_even_if_it_is_no(error: Exception) -> None:
    it = breaker(Clock())
    for one in (DOWN, DOWN, error, DOWN, DOWN):
        it.record(one)
    assert it.state is BreakerState.CLOSED


def test_one_probe_passes_after_the_pause() -> None:
    clock = Clock()
    it = opened(clock)
    clock.now += 9.9
    assert not it.admit()
    assert it.wait_s == pytest.approx(0.1)
    clock.now += 0.2
    assert it.admit()
    assert it.state is BreakerState.HALF_OPEN
    assert not it.admit()


def test_a_probe_that_succeeds_closes_it() -> None:
    clock = Clock()
    told: list[RunEvent] = []
    it = opened(clock, told)
    clock.now += 11
    it.admit()
    it.record(None)
    assert it.admit()
    assert [event.state for event in told if isinstance(event, BreakerChanged)] == [
        "open",
        "half_open",
        "closed",
    ]


def test_a_probe_that_fails_opens_it_for_another_pause() -> None:
    clock = Clock()
    it = opened(clock)
    clock.now += 11
    it.admit()
    it.record(DOWN)
    assert not it.admit()
    assert it.wait_s == 10


def test_a_probe_without_outcome_is_given_up() -> None:
    clock = Clock()
    it = opened(clock)
    clock.now += 11
    it.admit()
    clock.now += 11
    assert it.admit()


def test_calls_that_began_before_it_opened_change_nothing() -> None:
    it = opened(Clock())
    it.record(None)
    assert it.state is BreakerState.OPEN


def test_the_refusal_says_which_backend_why_and_until_when() -> None:
    refusal = opened(Clock()).refusal()
    assert "git_reference host is left alone for 10 s after 3 failures: no route" in str(refusal)
    assert (refusal.reason, refusal.retry_after) == ("circuit_open", 10)


def test_backends_are_apart_and_bounded() -> None:
    breakers = Breakers("consumer", failures=1)
    breakers.of("git_reference", "a").record(DOWN)
    assert breakers.of("git_reference", "b").admit()
    assert [str(each) for each in breakers.tripped] == ["git_reference a"]
    for number in range(MOST_BREAKERS):
        breakers.of("git_reference", str(number))
    assert breakers.tripped == []
