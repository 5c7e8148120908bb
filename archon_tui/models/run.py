"""A run as its events tell it: stages with rates and ETA, what was slow, what went wrong.

The same model serves a run that goes on and one that is replayed: it is told the time, it asks for none.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from archon_tui.models.plan import STYLES, WORDS
from archon_tui.text import LETTERS, bar
from archon_tui.widgets.painted import Line, Piece
from core import progress, units
from core.events.common import ContentStrategy
from core.summary import StrategyTotals

RATE_WINDOW_S = 5.0
SLOWEST = 5
KEPT_PROBLEMS = 500


class RunState(StrEnum):
    """What a run is doing, or how it ended. Published: all is in the log, and agents elsewhere are at it."""

    RUNNING = "running"
    PUBLISHED = "published"
    PAUSED = "paused"
    STOPPING = "stopping"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        return self in (RunState.DONE, RunState.CANCELLED, RunState.FAILED)


@dataclass(frozen=True, slots=True)
class Stage:
    """A line of the screen. `done` and `total` are None where not known; `eta_s` where nothing moves."""

    name: str
    done: int | None
    total: int | None
    unit: str
    rate: float | None
    eta_s: float | None
    ended_s: float | None
    detail: str = ""
    trouble: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """A skip, failure or dead letter to be listed."""

    kind: str
    path: str
    reason: str
    detail: str


@dataclass(slots=True)
class CacheCount:
    """Lookups of one source's cache."""

    hits: int = 0
    misses: int = 0


class Rates:
    """Figures a second over the last seconds, from counters that only grow."""

    def __init__(self, window_s: float = RATE_WINDOW_S) -> None:
        self._window_s = window_s
        self._samples: deque[tuple[float, Counter[str]]] = deque()

    def sample(self, at_s: float, counters: Counter[str]) -> None:
        """Note the counters; times must not go back."""
        self._samples.append((at_s, counters.copy()))
        while len(self._samples) > 2 and self._samples[1][0] <= at_s - self._window_s:
            self._samples.popleft()

    def rate(self, name: str) -> float | None:
        """A second's worth of `name`; None before two samples."""
        if len(self._samples) < 2:
            return None
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        return (last[name] - first[name]) / (last_s - first_s) if last_s > first_s else None

    def clear(self) -> None:
        self._samples.clear()


@dataclass
class RunModel:
    """Counts a run's events. `planned` are files by strategy, as far as a plan knew, with `discovered`.

    One that does not consume knows of the agents what they report.
    """

    planned: Mapping[str, int] = field(default_factory=dict)
    consumes: bool = True

    def __post_init__(self) -> None:
        self.version = 0
        self.at_s = 0.0
        self.counts: Counter[str] = Counter()
        self.sent: dict[ContentStrategy, StrategyTotals] = {}
        self.sources: dict[str, StrategyTotals] = {}
        self.caches: dict[str, CacheCount] = {}
        self.skips: Counter[tuple[str, bool]] = Counter()
        self.failures: Counter[str] = Counter()
        self.fallbacks: Counter[tuple[str, str, str]] = Counter()
        self.problems: deque[Problem] = deque(maxlen=KEPT_PROBLEMS)
        self.slowest: list[tuple[float, str, str]] = []
        self.published_whole = False
        self.reported: progress.AgentsReported | None = None
        self._ended: dict[str, float] = {}
        self._latency: Counter[int] = Counter()
        self._rates = Rates()

    # Taking in

    def add(self, event: progress.RunEvent, at_s: float) -> None:  # noqa: C901 - one case a kind
        """Count an event that came `at_s` seconds after the run began."""
        self.version += 1
        self.at_s = max(self.at_s, at_s)
        counts = self.counts
        match event:
            case progress.FilesExpected(files=files):
                counts["expected"] += files
            case progress.FilesScanned(files=files, bytes=size):
                counts["scanned"] += files
                counts["scanned_bytes"] += size
            case progress.FilesUnchanged(files=files):
                counts["unchanged"] += files
            case progress.FileSkipped(path=path, reason=reason, detail=detail, is_fault=fault):
                self.skips[reason, fault] += 1
                if fault:
                    self.problems.append(Problem("skipped", path, reason, detail))
            case progress.FilesPacked(strategy=strategy, files=files):
                counts["packed"] += files
                counts["stored"] += files if strategy == ContentStrategy.OBJECT_STORAGE else 0
            case progress.FilesPublished(strategy=strategy, files=files, bytes=size):
                _add(self.sent.setdefault(strategy, StrategyTotals()), files, size)
            case progress.ObjectUploaded(bytes=size, existed=existed):
                counts["existed"] += existed
                counts["uploaded_bytes"] += 0 if existed else size
            case progress.BatchPublished(files=files, encoded_bytes=size):
                counts["batches"] += 1
                counts["published"] += files
                counts["published_bytes"] += size
            case progress.BatchRefused(files=files, message=message):
                counts["refused"] += 1
                counts["refused_files"] += files
                self.problems.append(Problem("refused", f"{files:,} files", "refused", message))
            case progress.FilesDeleted(files=files):
                counts["deleted"] += files
            case progress.BatchReceived(files=files):
                counts["received"] += files
            case progress.FileResolved():
                self._resolved(event)
            case progress.FileAnalyzed(path=path, seconds=seconds):
                counts["analyzed"] += 1
                self._latency[_bucket(seconds)] += 1
                self._slow(seconds, path, "analysis")
            case progress.FileFailed(path=path, reason=reason, message=message):
                counts["failed"] += 1
                self.failures[reason] += 1
                self.problems.append(Problem("failed", path, reason, message))
            case progress.FallbackUsed(wanted=wanted, used=used, cause=cause):
                self.fallbacks[wanted, used, cause] += 1
            case progress.DeadLettered(
                topic=topic, offset=offset, files=files, reason=reason, message=message
            ):
                counts["dead_lettered"] += 1
                if not files:
                    self.problems.append(Problem("dead letter", f"{topic}/{offset}", reason, message))
            case progress.AgentsReported():
                self._told(event)
            case progress.BatchFinished(skipped=skipped):
                counts["finished"] += 1
                counts["consumer_skipped"] += skipped

    def _told(self, report: progress.AgentsReported) -> None:
        self.reported = report
        self.counts["received"] = report.files
        self.counts["analyzed"] = report.indexed
        self.counts["failed"] = report.failed
        self.counts["consumer_skipped"] = report.skipped
        self.sources = {name: StrategyTotals(files) for name, files in report.by_source.items()}
        self.caches = {
            name: CacheCount(report.hits.get(name, 0), report.misses.get(name, 0))
            for name in {**report.hits, **report.misses}
        }

    def _resolved(self, event: progress.FileResolved) -> None:
        self.counts["resolved"] += 1
        self.counts["retries"] += event.attempts - 1
        _add(self.sources.setdefault(event.source, StrategyTotals()), 1, event.bytes)
        if event.cache_hit is not None:
            cache = self.caches.setdefault(event.source, CacheCount())
            cache.hits += event.cache_hit
            cache.misses += not event.cache_hit
        if event.source != "inline":
            self._slow(event.seconds, event.path, "fetch")

    def _slow(self, seconds: float, path: str, what: str) -> None:
        entry = (seconds, path, what)
        if len(self.slowest) < SLOWEST:
            heapq.heappush(self.slowest, entry)
        elif entry > self.slowest[0]:
            heapq.heapreplace(self.slowest, entry)

    def tick(self, at_s: float) -> None:
        """Take the rates' sample; a few times a second."""
        self.at_s = max(self.at_s, at_s)
        self._rates.sample(self.at_s, self.counts)
        for name, done, total, final in self._stage_figures():
            if final and done is not None and total is not None and done >= total:
                self._ended.setdefault(name, self.at_s)
            else:
                self._ended.pop(name, None)

    # Giving out

    @property
    def to_publish(self) -> int | None:
        """Files that the publisher is going to send: known from the plan, or once it is through."""
        if self.published_whole:
            return self.counts["published"]
        planned = sum(self.planned.get(strategy, 0) for strategy in LETTERS)
        return planned or None

    @property
    def done(self) -> int:
        """Files that the consumer is through with."""
        return self.counts["analyzed"] + self.counts["failed"] + self.counts["consumer_skipped"]

    @property
    def is_accounted_for(self) -> bool:
        """Whether the agents are through with every file that was published."""
        return self.reported is not None and self.reported.files >= self.counts["published"]

    def _stage_figures(self) -> list[tuple[str, int | None, int | None, bool]]:
        """Name, done, total, and whether the total is final; what nobody told of is None."""
        counts, whole = self.counts, self.published_whole
        wanted = self.to_publish
        listed = self.planned.get("discovered") or counts["expected"] or None
        figures: list[tuple[str, int | None, int | None, bool]] = [
            ("scan", counts["scanned"], counts["scanned"] if whole else listed, True),
            ("pack", counts["packed"], counts["packed"] if whole else wanted, True),
        ]
        uploads = self.planned.get(ContentStrategy.OBJECT_STORAGE, 0)
        if uploads or counts["stored"]:
            figures.append(("upload", counts["stored"], counts["stored"] if whole else uploads or None, True))
        figures.append(("publish", counts["published"], wanted, True))
        # What waited in the log from before is drained here too.
        expected = max(counts["published"], counts["received"]) or None
        known = self.consumes or self.reported is not None
        figures.append(("consume", counts["received"] if known else None, expected, whole))
        figures.append(("generate", self.done if known else None, expected, whole))
        return figures

    def stages(self) -> list[Stage]:
        """The bars."""
        stages = []
        for name, done, total, _final in self._stage_figures():
            rate = self._rates.rate(_COUNTER[name])
            remaining = None if total is None or done is None else max(0, total - done)
            eta = remaining / rate if remaining and rate else None
            ended = self._ended.get(name)
            detail, trouble = self._detail(name)
            unit = "batches" if name == "publish" else "files"
            stages.append(Stage(name, done, total, unit, rate, eta, ended, detail, trouble))
        return stages

    def _detail(self, name: str) -> tuple[str, bool]:
        counts = self.counts
        match name:
            case "scan":
                unchanged = f"{counts['unchanged']:,} unchanged" if counts["unchanged"] else ""
                return unchanged or units.size(counts["scanned_bytes"]), False
            case "upload":
                existed = f", {counts['existed']:,} there already" if counts["existed"] else ""
                return units.size(counts["uploaded_bytes"]) + existed, False
            case "publish":
                return f"{counts['batches']:,} batches, {counts['refused']:,} refused", counts["refused"] > 0
            case "consume":
                return self._consuming(), False
            case "generate":
                p99 = self.p99_s
                slow = f"p99 {units.duration(p99)} " if p99 is not None else ""
                return f"{slow}{counts['failed']:,} failed", counts["failed"] > 0
        return "", False

    def _consuming(self) -> str:
        if self.consumes:
            return f"{self.counts['retries']:,} retries" if self.counts["retries"] else ""
        return f"lag {self.reported.events_waiting:,} events" if self.reported else ""

    @property
    def p99_s(self) -> float | None:
        """The time within which 99 of 100 files were durable, to a twelfth of an octave."""
        total = self._latency.total()
        if not total:
            return None
        seen = 0
        for bucket in sorted(self._latency):
            seen += self._latency[bucket]
            if seen >= 0.99 * total:
                return float(2 ** (bucket / 12))
        return None

    def hit_rate(self) -> dict[str, CacheCount]:
        """Lookups by cache, in order of name."""
        return dict(sorted(self.caches.items()))


_COUNTER = {
    "scan": "scanned",
    "pack": "packed",
    "upload": "stored",
    "publish": "published",
    "consume": "received",
    "generate": "analyzed",
}


def _add(totals: StrategyTotals, files: int, size: int) -> None:
    totals.files += files
    totals.bytes += size


def _bucket(seconds: float) -> int:
    """Twelve buckets to the octave: within 6 %."""
    return math.ceil(12 * math.log2(max(seconds, 1e-6)))


def stage_lines(model: RunModel, width: int) -> list[Line]:
    """The bars, `width` cells wide."""
    room = max(8, min(40, width - 88))
    lines: list[Line] = []
    for stage in model.stages():
        share = None if stage.done is None or stage.total is None else stage.done / max(1, stage.total)
        style = "fail" if stage.trouble else "ok" if stage.ended_s is not None else "accent"
        amount = f"{units.count(stage.done):>9}"
        amount += f" of {stage.total:<9,}" if stage.total is not None else " " * 13
        if stage.ended_s is not None:
            when = f"done at {units.duration(stage.ended_s)}"
        elif stage.eta_s is not None:
            when = f"ETA {units.duration(stage.eta_s)}"
        else:
            when = ""
        lines.append(
            [
                (f" {stage.name:<9}", "bold"),
                (bar(1.0 if stage.ended_s is not None else share, room), style),
                (f" {amount} ", ""),
                (f"{units.rate(stage.rate) if stage.ended_s is None else '':>9}  ", "dim"),
                (f"{when:<15} ", "ok" if stage.ended_s is not None else ""),
                (stage.detail, "fail" if stage.trouble else "dim"),
            ]
        )
    return lines


def figure_lines(model: RunModel) -> list[Line]:
    """Bytes by strategy, caches, the slowest files, and what went wrong."""
    sent: list[Piece] = [(" sent     ", "bold")]
    for strategy, letter in LETTERS.items():
        if strategy in model.sent:
            part = model.sent[strategy]
            sent += [
                (f"{letter} ", STYLES[strategy]),
                (f"{WORDS[strategy]} {part.files:,} files {units.size(part.bytes)}   ", ""),
            ]
    lines: list[Line] = [sent if len(sent) > 1 else [*sent, ("–", "dim")]]
    read: list[Piece] = [(" read     ", "bold")]
    for source, part in sorted(model.sources.items()):
        size = f" {units.size(part.bytes)}" if model.consumes else ""
        read.append((f"{source} {part.files:,} files{size}   ", ""))
    lines.append(read if len(read) > 1 else [*read, ("–", "dim")])
    hits: list[Piece] = [(" cache    ", "bold")]
    for source, cache in model.hit_rate().items():
        if lookups := cache.hits + cache.misses:
            share = units.percent(cache.hits, lookups)
            hits.append((f"{source} {cache.hits:,}/{lookups:,} hits {share}   ", ""))
    if len(hits) == 1:
        hits.append(
            (
                units.UNKNOWN
                if not model.consumes and model.reported is None
                else "– nothing was looked up in a cache",
                "dim",
            )
        )
    elif not model.consumes:
        hits.append(("of all agents, since the run began", "dim"))
    lines.append(hits)
    slow: list[Piece] = [(" slowest  ", "bold")]
    for seconds, path, what in sorted(model.slowest, reverse=True)[:3]:
        slow += [(path[-60:], ""), (f" {units.duration(seconds)} {what}   ", "dim")]
    lines.append(slow if len(slow) > 1 else [*slow, ("–", "dim")])
    return [*lines, *_trouble_lines(model)]


def _trouble_lines(model: RunModel) -> list[Line]:
    lines: list[Line] = []
    faults = {reason: count for (reason, fault), count in model.skips.items() if fault}
    other = sum(count for (_, fault), count in model.skips.items() if not fault)
    if faults:
        text = ", ".join(f"{count:,} {reason}" for reason, count in sorted(faults.items()))
        lines.append([(" ! skipped  ", "warn"), (text, "")])
    if other:
        lines.append(
            [
                (" – skipped  ", "dim"),
                (f"{other:,} as expected (links, submodules, LFS pointers, tests)", "dim"),
            ]
        )
    for (wanted, used, cause), count in model.fallbacks.most_common(4):
        lines.append([(" ! fallback ", "warn"), (f"{count:,} × {wanted} → {used}: {cause}", "")])
    for reason, count in model.failures.most_common(4):
        lines.append([(" ✗ failed   ", "fail"), (f"{count:,} × {reason}", "")])
    if model.counts["dead_lettered"]:
        lines.append(
            [(" ✗ letters  ", "fail"), (f"{model.counts['dead_lettered']:,} dead letters: 7 Events", "")]
        )
    return lines
