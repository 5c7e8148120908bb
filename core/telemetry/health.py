"""Health: what a check is, and how checks are run with deadlines and kept for a while.

Which checks there are is not known here; they are handed in by those who know how to check.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from core.errors import ArchonError
from core.safety.display import display
from core.safety.redact import redact


class State(StrEnum):
    """Worst last."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


_SEVERITY = {state: rank for rank, state in enumerate(State)}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw when nothing was raised; `hint` says what to do about a state that is not ok."""

    detail: str
    state: State = State.OK
    hint: str | None = None


Probe = Callable[[], Awaitable[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """Something that can be looked at. A probe raises `ArchonError` for what has failed.

    Without what is not `required` the agent still works: its failure is a degradation. What is `cheap`
    is looked at every time.
    """

    name: str
    probe: Probe
    required: bool = True
    cheap: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """A check's last outcome. `age_s` is how long ago it ended, `duration_s` how long it took."""

    name: str
    state: State
    required: bool
    detail: str | None
    error: str | None
    hint: str | None
    duration_s: float
    age_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The published shape."""
        return {
            "name": self.name,
            "state": self.state.value,
            "required": self.required,
            "detail": self.detail,
            "error": self.error,
            "hint": self.hint,
            "duration_ms": round(self.duration_s * 1000, 1),
            "age_s": round(self.age_s, 1),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """Every check's result, in the order of the checks."""

    results: tuple[Result, ...]

    @property
    def state(self) -> State:
        """The worst of all."""
        states = (result.state for result in self.results)
        return max(states, key=lambda state: _SEVERITY[state], default=State.OK)

    @property
    def ready(self) -> bool:
        """Whether everything that is required works."""
        return self.state is not State.FAILED

    def to_json(self) -> dict[str, Any]:
        """The published shape of `/health`, `/ready` and `doctor --json`."""
        return {
            "state": self.state.value,
            "ready": self.ready,
            "checks": [result.to_json() for result in self.results],
        }


class HealthMonitor:
    """Runs checks side by side, each with a deadline, and keeps their results for `max_age_s`."""

    def __init__(
        self,
        checks: Sequence[Check],
        *,
        deadline_s: float = 5.0,
        max_age_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checks = tuple(checks)
        self._deadline_s = deadline_s
        self._max_age_s = max_age_s
        self._clock = clock
        self._running: dict[str, asyncio.Task[Result]] = {}
        self._known: dict[str, tuple[float, Result]] = {}

    async def report(self) -> Report:
        """Results not older than `max_age_s`. Callers at the same time share one run of each check.

        A check that ignores its deadline is reported as failed and not started again until it ends.
        """
        results = await asyncio.gather(*(self._result(check) for check in self._checks))
        return Report(tuple(results))

    async def _result(self, check: Check) -> Result:
        known = self._known.get(check.name)
        if known and not check.cheap and (age := self._clock() - known[0]) <= self._max_age_s:
            return replace(known[1], age_s=age)
        task = self._running.get(check.name)
        if task is None:
            task = self._running[check.name] = asyncio.create_task(self._run(check))
            task.add_done_callback(lambda _done: self._running.pop(check.name, None))
        done, _ = await asyncio.wait({task}, timeout=self._deadline_s)
        if done and not task.cancelled():
            return task.result()
        task.cancel()
        error = f"no answer within {self._deadline_s:g} s"
        return _failed(check, error, "look at what the check depends on", self._deadline_s)

    async def _run(self, check: Check) -> Result:
        started = self._clock()
        try:
            found = await check.probe()
        except ArchonError as error:
            result = _failed(check, str(error), error.hint, self._clock() - started)
        except Exception as error:  # noqa: BLE001 - a broken check is a failed check, not a dead agent
            text = f"{type(error).__name__}: {error}"
            result = _failed(check, text, None, self._clock() - started)
        else:
            result = Result(
                check.name,
                found.state,
                check.required,
                _shown(found.detail),
                None,
                found.hint,
                self._clock() - started,
            )
        self._known[check.name] = (self._clock(), result)
        return result

    async def close(self) -> None:
        """Cancel what still runs."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def alive(progress_age_s: float, deadline_s: float, *, name: str = "loop") -> Report:
    """The liveness of a loop that should go round at least every `deadline_s` seconds."""
    if progress_age_s <= deadline_s:
        detail = f"went round {progress_age_s:.1f} s ago"
        return Report((Result(name, State.OK, True, detail, None, None, 0.0),))
    error = f"has not gone round for {progress_age_s:.0f} s, the deadline is {deadline_s:.0f} s"
    hint = "restart the agent; what is in flight will be delivered again"
    return Report((Result(name, State.FAILED, True, None, error, hint, 0.0),))


def _failed(check: Check, error: str, hint: str | None, duration_s: float) -> Result:
    state = State.FAILED if check.required else State.DEGRADED
    return Result(check.name, state, check.required, None, _shown(error), hint, duration_s)


def _shown(text: str) -> str:
    return str(display(redact(text), limit=500))
