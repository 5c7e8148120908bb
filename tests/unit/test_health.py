"""Checks: states, deadlines, sharing and age."""

from __future__ import annotations

import asyncio

from core.errors import BackendUnavailable
from core.telemetry.health import Check, Finding, HealthMonitor, Probe, State, alive


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def answering(finding: Finding) -> Probe:
    async def probe() -> Finding:
        return finding

    return probe


def raising(error: Exception) -> Probe:
    async def probe() -> Finding:
        raise error

    return probe


FINE = answering(Finding("3 topics"))


async def test_all_well_is_ready() -> None:
    report = await HealthMonitor([Check("log", FINE), Check("disk", FINE)]).report()
    assert report.ready
    assert report.state is State.OK
    assert [result.name for result in report.results] == ["log", "disk"]
    assert report.results[0].detail == "3 topics"


async def test_an_error_fails_the_check_with_its_hint_and_without_secrets() -> None:
    error = BackendUnavailable("https://user:hunter2@host/ refused\nconnection", hint="see kafka.servers")
    report = await HealthMonitor([Check("log", raising(error)), Check("disk", FINE)]).report()
    (failed, fine) = report.results
    assert not report.ready
    assert (failed.state, failed.hint, fine.state) == (State.FAILED, "see kafka.servers", State.OK)
    assert failed.error
    assert "hunter2" not in failed.error
    assert "\n" not in failed.error


async def test_what_is_not_required_only_degrades() -> None:
    check = Check("git", raising(BackendUnavailable("no route")), required=False)
    report = await HealthMonitor([check]).report()
    assert report.ready
    assert report.state is State.DEGRADED


async def test_a_broken_check_is_a_failed_check() -> None:
    report = await HealthMonitor([Check("log", raising(ZeroDivisionError("division by zero")))]).report()
    assert report.results[0].error == "ZeroDivisionError: division by zero"


async def test_a_probe_that_hangs_fails_at_its_deadline() -> None:
    ended = asyncio.Event()

    async def hang() -> Finding:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    report = await HealthMonitor([Check("s3", hang)], deadline_s=0.01).report()
    assert report.results[0].error == "no answer within 0.01 s"
    await ended.wait()


async def test_a_probe_that_ignores_its_deadline_is_not_started_twice() -> None:
    release = asyncio.Event()
    starts = 0

    async def stubborn() -> Finding:
        nonlocal starts
        starts += 1
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return Finding("at last")

    monitor = HealthMonitor([Check("s3", stubborn)], deadline_s=0.01)
    for _ in range(3):
        assert (await monitor.report()).state is State.FAILED
    assert starts == 1
    release.set()
    await monitor.close()
    assert (await monitor.report()).results[0].detail == "at last"


async def test_results_are_kept_for_a_while_and_say_their_age() -> None:
    clock = Clock()
    runs = 0

    async def count() -> Finding:
        nonlocal runs
        runs += 1
        clock.now += 2
        return Finding(str(runs))

    monitor = HealthMonitor([Check("log", count)], max_age_s=10, clock=clock)
    (first,) = (await monitor.report()).results
    assert (first.detail, first.duration_s) == ("1", 2)
    clock.now += 10
    (kept,) = (await monitor.report()).results
    assert (kept.detail, kept.age_s) == ("1", 10)
    clock.now += 0.1
    assert (await monitor.report()).results[0].detail == "2"


async def test_what_is_cheap_is_looked_at_every_time() -> None:
    state = ["not yet"]

    async def look() -> Finding:
        return Finding(state[0])

    monitor = HealthMonitor([Check("group", look, cheap=True)], max_age_s=1000)
    assert (await monitor.report()).results[0].detail == "not yet"
    state[0] = "joined"
    assert (await monitor.report()).results[0].detail == "joined"


async def test_callers_at_the_same_time_share_one_run() -> None:
    runs = 0
    gate = asyncio.Event()

    async def slow() -> Finding:
        nonlocal runs
        runs += 1
        await gate.wait()
        return Finding("done")

    monitor = HealthMonitor([Check("log", slow)])
    callers = [asyncio.create_task(monitor.report()) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*callers)
    assert runs == 1


async def test_checks_run_side_by_side() -> None:
    met = asyncio.Barrier(3)

    async def meet() -> Finding:
        await met.wait()
        return Finding("met")

    report = await HealthMonitor([Check(str(n), meet) for n in range(3)]).report()
    assert report.state is State.OK


def test_a_loop_that_stands_still_is_not_alive() -> None:
    assert alive(59.9, 60).ready
    dead = alive(61, 60)
    assert not dead.ready
    assert dead.results[0].error == "has not gone round for 61 s, the deadline is 60 s"
    assert dead.to_json()["checks"][0]["hint"]
