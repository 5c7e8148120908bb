"""The dashboard in a terminal: first picture, a plan that streams in, rest, a run, a million rows.

`python -m bench tui -- [ROWS]`; results go to docs/performance/tui.md.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pexpect
import psutil

from bench import corpus, measure
from bench.measure import Row, Run

ROOT = Path(__file__).parents[1]
ROUNDS = 5
PLANNED = 100_000
INGESTED = 1000
RUNS = 3
KEY_EVERY_S = 0.03
SETTLE_S, REST_S = 4.0, 4.0
PATIENCE_S = 120.0
# The cursor's mark, painted at the beginning of a line of the list.
CURSOR_ON = rb"\x1b\[%d;1H[^>\n]{1,200}m>\x1b"
SCREENS = ("repos", "plan", "run", "lag", "cache", "cost", "events", "health", "results")


class Terminal:
    """A command in a terminal of 120 by 36. What it writes is read at once and kept with the time."""

    def __init__(self, *arguments: str, home: Path) -> None:
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", *arguments],
            env=_environment(home),
            cwd=str(ROOT),
            dimensions=(36, 120),
        )
        self._seen = bytearray()
        self._mark = 0  # where the last key was typed
        self._news = threading.Condition()
        self._over = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.close(force=True)
        self._reader.join(PATIENCE_S)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.child.child_fd, 1 << 16)
            except OSError:
                data = b""
            with self._news:
                self._seen += data
                self._over = not data
                self._news.notify_all()
            if not data:
                return

    def send(self, keys: str) -> float:
        """Type; forgets what was written before the last key. When it was, by the monotonic clock."""
        with self._news:
            del self._seen[: self._mark]
            self._mark = len(self._seen)
        sent = time.monotonic()
        os.write(self.child.child_fd, keys.encode())
        return sent

    def shows(self, pattern: bytes, patience_s: float = PATIENCE_S) -> float:
        """Wait until `pattern` was written since the last key; when it was read."""
        wanted = re.compile(pattern)
        until = time.monotonic() + patience_s
        with self._news:
            while not wanted.search(self._seen, self._mark):
                if self._over or time.monotonic() > until:
                    raise TimeoutError(f"{pattern!r} was not written: {bytes(self._seen[-2000:])!r}")
                self._news.wait(until - time.monotonic())
            return time.monotonic()

    def has(self, pattern: bytes) -> bool:
        """Whether it was written since the last key but one: not to miss what came just before the last."""
        with self._news:
            return re.search(pattern, self._seen) is not None

    def ends(self) -> None:
        """Wait for its end."""
        self._reader.join(PATIENCE_S)
        self.child.close()
        assert self.child.exitstatus == 0, bytes(self._seen[-2000:])

    def leave(self) -> None:
        """Quit, and wait for the end."""
        self.send("q")
        self.ends()


def _environment(home: Path) -> dict[str, str]:
    # As installed: modules are compiled once, not at every start.
    dropped = ("PYTHONDONTWRITEBYTECODE", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "ARCHON_HOME": str(home), "TERM": "xterm-256color", "COLORTERM": "truecolor"}


def first_picture(home: Path) -> Row:
    """The start of the command to its first text, against a bare `import textual.app`."""

    def floor() -> Run:
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", "import textual.app"], check=True, cwd=ROOT, env=_environment(home)
        )
        return Run(time.perf_counter() - started, 0, {})

    def start() -> Run:
        started = time.monotonic()
        with Terminal("archon_tui.main", home=home) as terminal:
            shown = terminal.shows(b"Repos")
            terminal.leave()
        return Run(shown - started, 0, {})

    start(), floor()
    ours, floors = measure.alternate(ROUNDS, start, floor)
    ratio = measure.median_ratio(ours, floors)
    return Row(
        "first picture (floor: `import textual.app`)",
        f"{measure.median(ours):.2f} s",
        f"{measure.median(floors):.2f} s",
        f"{ratio:.2f} x",
        "≤ 2.5 x",
        ratio <= 2.5,
    )


def streaming(work: Path, home: Path) -> list[Row]:
    """A plan of 100,000 files: its first rows, and how long a key waits while it streams in."""
    source = corpus.make_small(work / "planned", PLANNED)
    waits: list[float] = []
    with Terminal(
        "bench._tui", "plan", str(work / "plan.json"), str(source), str(home), home=home
    ) as terminal:
        first = terminal.shows(rb"module_\d+\.py")
        while not terminal.has(rf"{PLANNED:,} files".encode()):
            time.sleep(KEY_EVERY_S)
            down = len(waits) % 2 == 0
            sent = terminal.send("j" if down else "k")
            waits.append(terminal.shows(CURSOR_ON % (6 if down else 5)) - sent)
        terminal.leave()
    told = json.loads((work / "plan.json").read_text())
    assert told["files"] == PLANNED, told
    rows_ms = (first - told["delivered_at"]) * 1000
    waits_ms = sorted(wait * 1000 for wait in waits)
    p99 = waits_ms[int(len(waits_ms) * 0.99)]
    took = told["ended_at"] - told["asked_at"]
    opening = told["asked_at"] - told["opened_at"]
    return [
        Row(
            "plan of 100,000 files: first rows after the scan delivers",
            f"{rows_ms:,.0f} ms",
            "–",
            "–",
            "≤ 500 ms",
            rows_ms <= 500,
        ),
        Row(
            f"key to repaint while it streams, p99 of {len(waits_ms):,}",
            f"{p99:.0f} ms",
            "–",
            "–",
            "≤ 50 ms",
            p99 <= 50,
        ),
        Row("the same, median", f"{statistics.median(waits_ms):.0f} ms", "–", "–", "–", None),
        Row("the same, longest", f"{waits_ms[-1]:.0f} ms", "–", "–", "–", None),
        Row("the whole plan, keys included", f"{took:.1f} s", "–", "–", "–", None),
        Row("opening the repository before it", f"{opening:.2f} s", "–", "–", "–", None),
    ]


def at_rest(home: Path, root: Path) -> list[Row]:
    """Processor time of the dashboard on each screen while nothing happens."""
    shares: dict[str, float] = {}
    with Terminal("archon_tui.main", str(root), home=home) as terminal:
        terminal.shows(b"Repos")
        process = psutil.Process(terminal.child.pid)
        for key, screen in enumerate(SCREENS, 1):
            terminal.send(str(key))
            time.sleep(SETTLE_S)
            before, started = process.cpu_times(), time.perf_counter()
            time.sleep(REST_S)
            after, took = process.cpu_times(), time.perf_counter() - started
            shares[screen] = (after.user + after.system - before.user - before.system) / took
        terminal.leave()
    return [
        Row(f"at rest on {screen}", f"{share:.1%} CPU", "–", "–", "< 2 %", share < 0.02)
        for screen, share in shares.items()
    ]


def running(work: Path, source: Path) -> Row:
    """The same run begun in the dashboard and watched there, and without one."""
    number = 0

    def measured(what: str) -> Run:
        nonlocal number
        number += 1
        home, result = work / f"run-{number}", work / f"run-{number}.json"
        with Terminal("bench._tui", what, str(result), str(source), str(home), home=home) as terminal:
            terminal.ends()
        told = json.loads(result.read_text())
        assert told["files"] == INGESTED, told
        return Run(told["seconds"], 0, {})

    open_, without = measure.alternate(RUNS, lambda: measured("run"), lambda: measured("bare"))
    ratio = measure.median_ratio(open_, without)
    return Row(
        "a run watched in the dashboard (floor: the same run without one)",
        f"{measure.median(open_):.1f} s",
        f"{measure.median(without):.1f} s",
        f"{ratio:.2f} x",
        "≤ 1.1 x",
        ratio <= 1.1,
    )


def million(work: Path, home: Path, count: int) -> list[Row]:
    """A list of a million rows: the longest that a key may have to wait, drawing included."""
    with Terminal("bench._tui", "million", str(work / "million.json"), str(count), home=home) as terminal:
        terminal.ends()
    figures: Mapping[str, Any] = json.loads((work / "million.json").read_text())
    return [
        Row(
            f"{count:,} rows: {name} ({took * 1000:,.0f} ms), longest wait",
            f"{held * 1000:,.0f} ms",
            "–",
            "–",
            "≤ 100 ms",
            held <= 0.1,
        )
        for name, (took, held) in figures.items()
    ]


def main(argv: list[str]) -> None:
    """Measure, print, and write the results. The only argument is how many rows."""
    count = int(argv[0]) if argv else 1_000_000
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="archon-bench-") as scratch:
        work = Path(scratch)
        home = work / "home"
        rows = [first_picture(home), *million(work, home, count)]
        rows += streaming(work, home)
        source = corpus.make(work / "ingested", INGESTED)
        rows.append(running(work, source))
        rows += at_rest(work / "run-1", source)
    measure.write(
        "tui",
        "The dashboard",
        rows,
        f"All in a real terminal of 120 by 36; load {load:.1f} when it began. Medians of {ROUNDS} starts and"
        f" {RUNS} runs, alternating. A wait is the longest that the event loop was held up, drawing and"
        " writing to the terminal included. At rest: user and system time of the process over"
        f" {REST_S:.0f} s, after something was ingested.",
    )
