"""Retry keeps to its attempts, its waits and its deadline."""

from __future__ import annotations

import asyncio

import pytest

from core.errors import ArchonError, BackendUnavailable, ContentMissing, DeadlineExceeded, RetryableError
from core.retry import RetryPolicy


class Flaky:
    """Fails with each of `errors` in turn, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls: list[int] = []

    async def __call__(self, attempt: int) -> str:
        self.calls.append(attempt)
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def policy(waits: list[float], **changes: float) -> RetryPolicy:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    return RetryPolicy(sleep=sleep, random=lambda: 0.5, **changes)  # type: ignore[arg-type] # attempts is an int


async def test_waits_double_with_jitter() -> None:
    waits: list[float] = []
    flaky = Flaky(*[BackendUnavailable("down")] * 3)
    assert await policy(waits, attempts=4, base_s=1.0, longest_s=3.0).run(flaky, "it") == "done"
    assert flaky.calls == [1, 2, 3, 4]
    assert waits == [0.5, 1.0, 1.5]


async def test_the_last_error_is_raised() -> None:
    waits: list[float] = []
    flaky = Flaky(BackendUnavailable("one"), BackendUnavailable("two"), BackendUnavailable("three"))
    with pytest.raises(BackendUnavailable, match="three"):
        await policy(waits).run(flaky, "it")
    assert len(waits) == 2


async def test_a_permanent_error_is_not_retried() -> None:
    waits: list[float] = []
    flaky = Flaky(ContentMissing("gone"))
    with pytest.raises(ContentMissing):
        await policy(waits).run(flaky, "it")
    assert flaky.calls == [1]
    assert not waits


@pytest.mark.parametrize(
    ("errors", "attempts"),
    [
        ([BackendUnavailable("down")] * 3, 3),
        ([BackendUnavailable("down"), ContentMissing("gone")], 2),
        ([ContentMissing("gone")], 1),
        ([RetryableError("later", retry_after=100.0)], 1),
    ],
)
async def test_errors_say_how_many_attempts_there_were(errors: list[Exception], attempts: int) -> None:
    with pytest.raises(ArchonError) as caught:
        await policy([], deadline_s=50.0).run(Flaky(*errors), "it")
    assert caught.value.attempts == attempts


async def test_retry_after_is_kept_to() -> None:
    waits: list[float] = []
    flaky = Flaky(RetryableError("slow down", retry_after=7.0), RetryableError("again", retry_after=0.01))
    assert await policy(waits, base_s=1.0).run(flaky, "it") == "done"
    assert waits == [7.0, 1.0]


async def test_a_wait_past_the_deadline_is_not_begun() -> None:
    waits: list[float] = []
    flaky = Flaky(RetryableError("come back tomorrow", retry_after=86_400.0))
    with pytest.raises(RetryableError, match="tomorrow"):
        await policy(waits).run(flaky, "it")
    assert flaky.calls == [1]
    assert not waits


async def test_time_runs_out_midway() -> None:
    async def hang(attempt: int) -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded, match=r"the download took longer than 0\.01 s"):
        await RetryPolicy(deadline_s=0.01).run(hang, "the download")
