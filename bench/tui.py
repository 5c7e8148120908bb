"""The dashboard: time to its first picture, and a million rows, with how long a key may have to wait.

Results go to docs/performance/tui.md.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.app import App, ComposeResult

from archon_tui.filters import Fields
from archon_tui.widgets.row_list import Column, RowList
from bench.measure import machine

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "performance" / "tui.md"
ROWS = 1_000_000
ROUNDS = 5
Row = tuple[str, int, str]


class Million(App[None]):
    """One list and nothing else."""

    def compose(self) -> ComposeResult:
        columns: tuple[Column[Row], ...] = (
            Column("path", "FILE", 20, lambda row: (row[0], ""), lambda row: row[0], flex=1, keep_end=True),
            Column("size", "SIZE", 9, lambda row: (f"{row[1]:,}", ""), lambda row: row[1], right=True),
            Column("lang", "LANG", 8, lambda row: (row[2], "dim"), lambda row: row[2]),
        )
        yield RowList[Row](columns, Fields(text=lambda row: row[0]), identity=lambda row: row[0])


def first_picture() -> tuple[float, float]:
    """Seconds from the start of the command to its first picture, and of a bare `import textual.app`."""
    import pexpect

    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "ARCHON_HOME": home, "TERM": "xterm-256color"}
        floors, ours = [], []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", "import textual.app"], check=True, cwd=ROOT)
            floors.append(time.perf_counter() - started)
            started = time.perf_counter()
            child = pexpect.spawn(
                sys.executable,
                ["-m", "archon_tui.main"],
                env=environment,
                cwd=str(ROOT),
                dimensions=(36, 120),
            )
            child.expect(b"Repos", timeout=60)
            ours.append(time.perf_counter() - started)
            child.send("q")
            child.expect(pexpect.EOF, timeout=60)
            child.close()
    return statistics.median(ours), statistics.median(floors)


async def million(count: int) -> dict[str, tuple[float, float]]:
    """What was done over `count` rows -> seconds in all, and the longest that the loop was held up."""
    chance = random.Random(1)
    rows: list[Row] = [
        (f"src/d{chance.randrange(500)}/f{number}.py", chance.randrange(1 << 20), chance.choice("abcde"))
        for number in range(count)
    ]
    figures: dict[str, tuple[float, float]] = {}
    app = Million()
    async with app.run_test(size=(120, 40)) as pilot:
        shown: Any = app.query_one(RowList)

        async def measured(name: str, work: Callable[[], object]) -> None:
            longest, stop = 0.0, False

            async def beat() -> None:
                nonlocal longest
                last = time.perf_counter()
                while not stop:
                    await asyncio.sleep(0)
                    now = time.perf_counter()
                    longest, last = max(longest, now - last), now

            beating = asyncio.create_task(beat())
            started = time.perf_counter()
            work()
            await shown.arranged()
            took = time.perf_counter() - started
            await pilot.pause()  # drawing counts for the wait; the driver's own patience not for the time
            figures[name] = (took, longest)
            stop = True
            await beating

        await measured("show", lambda: shown.show(rows))
        await measured("jump to the end and draw", lambda: shown.move_to(count - 1))
        await measured("half a page up and draw", lambda: shown.move_by(-20))
        await measured("filter by a word", lambda: shown.filter("d12"))
        await measured("clear the filter", lambda: shown.filter(""))
        await measured("sort by path", lambda: shown.sort(shown.columns[0]))
        await measured("sort by size", lambda: shown.sort(shown.columns[1]))
    return figures


def main(argv: list[str]) -> None:
    """Measure, print, and write the results. The only argument is how many rows."""
    count = int(argv[0]) if argv else ROWS
    ours, floor = first_picture()
    figures = asyncio.run(million(count))
    lines = [
        "# The dashboard, measured",
        "",
        f"Written by `python -m bench tui`. {machine()}; load {os.getloadavg()[0]:.0f} while measuring.",
        "",
        "## First picture",
        "",
        f"{ours:.2f} s from the start of the command to its first text; `import textual.app` alone takes",
        f"{floor:.2f} s: ratio {ours / floor:.2f} (target 2.5). Medians of {ROUNDS}.",
        "",
        f"## A list of {count:,} rows",
        "",
        "| | took | longest wait of a key, drawing included |",
        "|---|---:|---:|",
        *(
            f"| {name} | {took * 1000:,.0f} ms | {held * 1000:,.0f} ms |"
            for name, (took, held) in figures.items()
        ),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.write_text(text, encoding="utf-8")
