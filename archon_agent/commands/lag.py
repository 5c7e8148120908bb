"""`archon-agent lag`: how far a group is behind, partition by partition, and what that means."""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Protocol

import typer

from archon_agent import console
from archon_agent.help import App
from archon_agent.options import JsonFlag, Loaded, with_settings
from archon_agent.running import run_async
from core import units
from core.events.topics import PREFIX
from core.log.base import EventLog, PartitionLag
from core.log.lag import GroupReport, LagWindow

app = App(help="Show a group's lag and whether it moves.")

# Enough looks to tell standing still from moving, quick enough to wait for.
LOOKS = 3
COLUMNS = (
    "TOPIC/PARTITION",
    "COMMITTED",
    "END",
    "LAG",
    "IN/s",
    "OUT/s",
    "OLDEST",
    "DRAIN",
    "VERDICT",
    "OWNER",
)


class Show(Protocol):
    """Shows a report."""

    def __call__(self, report: GroupReport) -> None: ...


@app.command(examples=("archon-agent lag --watch --kafka-servers kafka:9092",))
@with_settings("log", "kafka")
def lag(
    loaded: Loaded,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="go on looking until interrupted")] = False,
    interval: Annotated[float, typer.Option("--interval", min=0.1, help="seconds between looks")] = 1.0,
    as_json: JsonFlag = False,
) -> None:
    """Show a group's lag in messages and seconds, its rates, and a verdict with the reason.

    OK: keeps up or gets there. WARN: moves, but the lag grows. STALL: does not move. STOP: nobody works on
    it any more. REWIND: was set back. RESET: stands beyond the end, as after the topic was
    made anew. LOST: the log removed events unread. With --watch verdicts look back a minute, else a few
    seconds.
    """
    run_async(lambda stop: _lag(loaded, watch, interval, as_json, stop))


async def _lag(loaded: Loaded, watch: bool, interval: float, as_json: bool, stop: asyncio.Event) -> None:
    from core.assembly.stores import open_log
    from core.fleet import owners, read_fleet

    group = loaded.settings.log.group
    window = LagWindow(group)
    looks = 0
    async with open_log(loaded.settings) as log:
        with _shown(watch, as_json) as show:
            while not stop.is_set():
                window.add(await _places(log, group, loaded.settings.log.topics), time.monotonic())
                looks += 1
                if watch or looks == LOOKS:
                    show(window.report(owners(await read_fleet(log), group)))
                if looks == LOOKS and not watch:
                    return
                try:
                    await asyncio.wait_for(stop.wait(), interval)
                except TimeoutError:
                    continue


async def _places(log: EventLog, group: str, topics: tuple[str, ...]) -> list[PartitionLag]:
    """Where the group has committed; before its first commit, the topics it is meant to read."""
    return list(await log.lag(group) or await log.lag(group, topics))


@contextmanager
def _shown(watch: bool, as_json: bool) -> Iterator[Show]:
    if as_json:
        yield _json_line if watch else lambda report: console.print_json(document(report))
    elif watch and sys.stdout.isatty():
        from rich.live import Live

        with Live(console=console.out, auto_refresh=False) as live:
            yield lambda report: live.update(_table(report), refresh=True)
    else:
        yield lambda report: console.out.print(_table(report))


def _json_line(report: GroupReport) -> None:
    sys.stdout.write(json.dumps(document(report)) + "\n")
    sys.stdout.flush()


def _table(report: GroupReport) -> Any:
    from rich.console import Group

    heading = console.line(f"{report.group}: {report.verdict} · {report.lag:,} wait · {report.why}")
    rows = [
        (
            f"{_short(part.place.topic)}/{part.place.partition}",
            _count(part.place.committed),
            _count(part.place.end),
            _count(part.place.lag),
            _rate(part.judgement.rate_in),
            _rate(part.judgement.rate_out),
            None if part.place.lag_seconds is None else units.duration(part.place.lag_seconds),
            _drain(part.judgement.drain_s),
            part.judgement.verdict,
            part.owner,
        )
        for part in report.partitions
    ]
    right = frozenset(COLUMNS[1:8])
    return Group(heading, console.table(COLUMNS, rows, right=right)) if rows else Group(heading)


def _short(topic: str) -> str:
    """A topic of archon's own without the words that all of them begin with; `--json` has it whole."""
    start = f"{PREFIX}.tree."
    return f"…{topic.removeprefix(start)}" if topic.startswith(start) else topic


def _count(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _rate(value: float | None) -> str | None:
    return None if value is None else f"{value:,.1f}"


def _drain(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return "∞" if math.isinf(seconds) else units.duration(seconds)


def document(report: GroupReport) -> dict[str, Any]:
    """The published shape; `drain_seconds` is null where unknown and where the lag does not shrink."""
    return {
        "group": report.group,
        "verdict": report.verdict.value,
        "why": report.why,
        "lag": report.lag,
        "partitions": [
            {
                "topic": part.place.topic,
                "partition": part.place.partition,
                "committed": part.place.committed,
                "begin": part.place.begin,
                "end": part.place.end,
                "lag": part.place.lag,
                "lag_seconds": part.place.lag_seconds,
                "rate_in": part.judgement.rate_in,
                "rate_out": part.judgement.rate_out,
                "drain_seconds": _finite(part.judgement.drain_s),
                "verdict": part.judgement.verdict.value,
                "why": part.judgement.why,
                "owner": part.owner,
            }
            for part in report.partitions
        ],
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value
