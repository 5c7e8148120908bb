"""What a group's lag means: a verdict per partition over a sliding window, as Burrow judges it.

Nothing here reads a log; `LagWindow` is fed with what `EventLog.lag` answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from core.log.base import PartitionLag, TopicPartition

LOST_HINT = "archon-agent ingest --force-reindex publishes the files again"
WINDOW_S = 60.0
HISTORY_S = 600.0
PATIENCE_S = 30.0


class Verdict(StrEnum):
    """Worst last. The names are Burrow's, but for the last two.

    RESET: the group's offset lies beyond the end, as after a topic was made anew. LOST: the log removed
    events that the group had not read.
    """

    UNKNOWN = "UNKNOWN"
    OK = "OK"
    WARN = "WARN"
    STALL = "STALL"
    STOP = "STOP"
    REWIND = "REWIND"
    RESET = "RESET"
    LOST = "LOST"


_SEVERITY = {verdict: rank for rank, verdict in enumerate(Verdict)}


@dataclass(frozen=True, slots=True)
class Sample:
    """A look at a partition; `at` is seconds of a clock that only goes forward."""

    at: float
    committed: int | None
    end: int
    lag: int
    begin: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, why in words, and the rates it rests on.

    Rates are messages a second over the window, None after one look. `drain_s` is None where unknown and
    infinite where the lag does not shrink.
    """

    verdict: Verdict
    why: str
    rate_in: float | None = None
    rate_out: float | None = None
    drain_s: float | None = None


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """A partition's place, what it means, who has it, and its lag over time, oldest first."""

    place: PartitionLag
    judgement: Judgement
    owner: str | None
    history: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A whole group; its verdict is that of its worst partition."""

    group: str
    verdict: Verdict
    why: str
    partitions: tuple[PartitionReport, ...]

    @property
    def lag(self) -> int:
        """Messages that wait in all partitions."""
        return sum(report.place.lag for report in self.partitions)


class LagWindow:
    """Keeps the last minutes of a group's lag and judges them."""

    def __init__(
        self,
        group: str,
        *,
        window_s: float = WINDOW_S,
        history_s: float = HISTORY_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`window_s` is what a verdict looks at, `patience_s` how long a partition may stand still."""
        self._group = group
        self._window_s = window_s
        self._history_s = history_s
        self._patience_s = patience_s
        self._samples: dict[TopicPartition, deque[Sample]] = {}
        self._places: dict[TopicPartition, PartitionLag] = {}

    def add(self, places: Sequence[PartitionLag], at: float) -> None:
        """Take a look; partitions that are gone are forgotten."""
        self._places = {TopicPartition(place.topic, place.partition): place for place in places}
        for where in self._samples.keys() - self._places.keys():
            del self._samples[where]
        for where, place in self._places.items():
            samples = self._samples.setdefault(where, deque())
            samples.append(Sample(at, place.committed, place.end, place.lag, place.begin))
            while samples[0].at < at - self._history_s:
                samples.popleft()

    def report(self, owners: Mapping[TopicPartition, str] | None = None) -> GroupReport:
        """The verdicts. `owners` says which agent has which partition, None where that is not known."""
        reports = []
        for where, place in sorted(self._places.items()):
            owner = owners.get(where) if owners is not None else None
            judgement = judge(
                list(self._samples[where]),
                window_s=self._window_s,
                patience_s=self._patience_s,
                abandoned=owners is not None and owner is None,
            )
            history = tuple(sample.lag for sample in self._samples[where])
            reports.append(PartitionReport(place, judgement, owner, history))
        if not reports:
            return GroupReport(self._group, Verdict.UNKNOWN, "the group has committed nothing", ())
        worst = max(reports, key=lambda report: _SEVERITY[report.judgement.verdict])
        where_worst = f"{worst.place.topic}/{worst.place.partition}"
        verdict = worst.judgement.verdict
        why = "all partitions keep up" if verdict is Verdict.OK else f"{where_worst} {worst.judgement.why}"
        return GroupReport(self._group, verdict, why, tuple(reports))


def judge(
    samples: Sequence[Sample],
    *,
    window_s: float = WINDOW_S,
    patience_s: float = PATIENCE_S,
    abandoned: bool = False,
) -> Judgement:
    """The verdict on one partition's samples, oldest first; rules in Burrow's order of precedence.

    `abandoned` means that it is known that no agent has the partition.
    """
    if not samples:
        return Judgement(Verdict.UNKNOWN, "was not looked at")
    last = samples[-1]
    recent = [sample for sample in samples if sample.at >= last.at - window_s]
    rate_in, rate_out, drain_s = _rates(recent)
    verdict, why = _verdict(samples, recent, patience_s, abandoned)
    if verdict is Verdict.OK and last.lag and drain_s not in (None, float("inf")):
        why = f"drains in {drain_s:,.0f} s"
    return Judgement(verdict, why, rate_in, rate_out, drain_s)


def _verdict(
    samples: Sequence[Sample], recent: Sequence[Sample], patience_s: float, abandoned: bool
) -> tuple[Verdict, str]:
    last = samples[-1]
    if last.committed is not None and last.committed < last.begin:
        return Verdict.LOST, f"{_events(last.begin - last.committed)} gone unread; {LOST_HINT}"
    if last.committed is not None and last.committed > last.end:
        return Verdict.RESET, f"the group is at {last.committed:,}, the log ends at {last.end:,}"
    if back := _set_back(recent):
        before, after = back
        return Verdict.REWIND, f"was set back from {before:,} to {after:,}"
    if last.lag == 0:
        return Verdict.OK, "nothing waits"
    if abandoned:
        return Verdict.STOP, f"has no agent while {_waiting(last.lag)}"
    if any(sample.lag == 0 for sample in recent):
        return Verdict.OK, "kept up within the last minute"
    moved_at = _moved_at(samples)
    still_s = last.at - (samples[0].at if moved_at is None else moved_at)
    if moved_at is None:
        if still_s >= patience_s:
            return Verdict.STALL, f"has not moved for {still_s:,.0f} s while {_waiting(last.lag)}"
        if len(samples) == 1:
            return Verdict.UNKNOWN, f"{_waiting(last.lag)}; one look does not show whether it moves"
        return Verdict.WARN, f"has not moved in the {still_s:,.0f} s watched while {_waiting(last.lag)}"
    # Burrow's rule: silent for longer than it was ever seen to be at work.
    if still_s >= max(patience_s, moved_at - samples[0].at):
        return Verdict.STOP, f"committed {still_s:,.0f} s ago for the last time while {_waiting(last.lag)}"
    lags = [sample.lag for sample in recent]
    if len(lags) > 2 and lags == sorted(lags) and lags[0] < lags[-1]:
        return Verdict.WARN, f"moves, but {lags[-1] - lags[0]:,} more wait than {_span(recent):,.0f} s ago"
    return Verdict.OK, f"moves; {_waiting(last.lag)}"


def _events(count: int) -> str:
    return "1 event is" if count == 1 else f"{count:,} events are"


def _waiting(lag: int) -> str:
    return "1 waits" if lag == 1 else f"{lag:,} wait"


def _set_back(samples: Sequence[Sample]) -> tuple[int, int] | None:
    """The committed offsets around the last step backwards."""
    committed = [sample.committed for sample in samples if sample.committed is not None]
    for before, after in reversed(list(pairwise(committed))):
        if after < before:
            return before, after
    return None


def _moved_at(samples: Sequence[Sample]) -> float | None:
    """When the committed offset was last seen to change; None if never."""
    for before, after in reversed(list(pairwise(samples))):
        if after.committed != before.committed:
            return after.at
    return None


def _span(samples: Sequence[Sample]) -> float:
    return samples[-1].at - samples[0].at


def _rates(samples: Sequence[Sample]) -> tuple[float | None, float | None, float | None]:
    """Messages in and out a second, and seconds until drained."""
    first, last = samples[0], samples[-1]
    if (span := _span(samples)) <= 0:
        return None, None, 0.0 if last.lag == 0 else None
    rate_in = (last.end - first.end) / span
    rate_out = None
    if first.committed is not None and last.committed is not None:
        rate_out = (last.committed - first.committed) / span
    if last.lag == 0:
        return rate_in, rate_out, 0.0
    shrinking = (first.lag - last.lag) / span
    return rate_in, rate_out, last.lag / shrinking if shrinking > 0 else float("inf")
