"""Playing a journal: the same model a run has, fed by the clock that the viewer turns."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Any

from archon_tui.models.run import RunModel, RunState
from core.errors import UsageError
from core.journal import Journal, Recorded, events, open_journal

SPEEDS = (0.125, 128.0)
RATE_STEP_S = 0.25


class Replay:
    """A journal at a place. `tick` moves on; `seek` goes anywhere, backwards too."""

    def __init__(
        self,
        journal: Journal,
        recorded: list[Recorded],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.journal = journal
        self.name = journal.header.project
        self.speed = 1.0
        self.paused = False
        self._recorded = recorded
        self._times = [item.at_s for item in recorded]
        self._clock = clock
        self._last = clock()
        self._at_s = 0.0
        self._next = 0
        self.model = self._new_model()
        self._go_to(0.0)  # what came in the first millisecond

    @classmethod
    def of(cls, file: Path, *, clock: Callable[[], float] = time.monotonic) -> Replay:
        """Read a journal whole. Raises `UsageError` where it is none or holds nothing."""
        journal = open_journal(file)
        recorded = sorted(events(journal), key=lambda item: item.at_s)
        if not recorded:
            raise UsageError("the journal holds no event")
        return cls(journal, recorded, clock=clock)

    @property
    def length_s(self) -> float:
        """Seconds from the run's beginning to its last event."""
        return self._times[-1]

    @property
    def elapsed_s(self) -> float:
        """Where in the run this is."""
        return self._at_s

    @property
    def state(self) -> RunState:
        if self.paused:
            return RunState.PAUSED
        if self._at_s < self.length_s:
            return RunState.RUNNING
        word = (self.journal.outcome or {}).get("state")
        return RunState(word) if word in set(RunState) else RunState.FAILED

    def toggle_pause(self) -> None:
        self.paused = not self.paused
        self._last = self._clock()

    def change_speed(self, factor: float) -> None:
        """Faster or slower, within limits."""
        self.speed = min(max(self.speed * factor, SPEEDS[0]), SPEEDS[1])

    def seek(self, at_s: float) -> None:
        """Go to a place; backwards begins the model anew."""
        at_s = min(max(0.0, at_s), self.length_s)
        if at_s < self._at_s:
            self.model = self._new_model()
            self._next, self._at_s = 0, 0.0
            self._go_to(0.0)
        self._last = self._clock()
        self._go_to(at_s)

    def tick(self) -> None:
        """Move on by the time that went by."""
        now = self._clock()
        gone, self._last = now - self._last, now
        if not self.paused and self._at_s < self.length_s:
            self._go_to(min(self.length_s, self._at_s + gone * self.speed))

    def _go_to(self, at_s: float) -> None:
        """Feed what lies between, with a sample of the rates every quarter of a second of the run."""
        end = bisect_right(self._times, at_s)
        sample_at = self._at_s + RATE_STEP_S
        for place in range(self._next, end):
            recorded = self._recorded[place]
            while sample_at <= recorded.at_s:
                self.model.tick(sample_at)
                sample_at += RATE_STEP_S
            self.model.add(recorded.event, recorded.at_s)
        self._next, self._at_s = end, at_s
        if end == len(self._recorded):
            self.model.published_whole = True
        self.model.tick(at_s)
        self.model.version += 1

    def _new_model(self) -> RunModel:
        header = self.journal.header
        return RunModel(header.planned, consumes=header.consumes)

    def outcome(self) -> dict[str, Any]:
        """What the journal says became of the run."""
        return self.journal.outcome or {"state": "broke off", "project_name": self.name}
