"""Progress of a run on stderr: a live bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from archon_agent.console import err, say
from core.progress import BatchFinished, BatchPublished, FilesExpected, FilesScanned, Listener, RunEvent
from core.units import size

PLAIN_EVERY_S = 5.0


@contextmanager
def progress(title: str, *, total_messages: int | None = None) -> Iterator[Listener]:
    """A listener that shows a run: a live bar on a terminal, else a line every few seconds."""
    if err.is_terminal:
        with _live(title, total_messages) as listener:
            yield listener
    else:
        yield _PlainProgress(title)


@contextmanager
def _live(title: str, total: int | None) -> Iterator[Listener]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, refresh_per_second=4) as bar:
        counters = _Counters()
        task = bar.add_task(title, total=total, detail="")

        def listen(event: RunEvent) -> None:
            counters.add(event)
            if isinstance(event, FilesExpected):
                bar.update(task, total=event.files)
            done = counters.batches if total is not None else counters.files
            bar.update(task, completed=done, detail=counters.text())

        yield listen


class _Counters:
    def __init__(self) -> None:
        self.started = time.monotonic()
        self.files = self.bytes = self.batches = 0

    def add(self, event: RunEvent) -> None:
        match event:
            case FilesScanned(files=files, bytes=count):
                self.files += files
                self.bytes += count
            case BatchFinished(indexed=indexed, failed=failed):
                self.files += indexed + failed
                self.batches += 1
            case BatchPublished():
                self.batches += 1

    def text(self) -> str:
        rate = self.files / max(0.001, time.monotonic() - self.started)
        moved = f" · {size(self.bytes)}" if self.bytes else ""
        return f"{self.files:,} files{moved} · {rate:,.0f}/s"


@contextmanager
def bar() -> Iterator[Callable[..., None]]:
    """`show(name, done, total, detail="")` draws a bar per name on a terminal, else a line now and then."""
    if not err.is_terminal:
        yield _PlainBar()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[title]}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=err, transient=True, refresh_per_second=4) as live:
        tasks: dict[str, Any] = {}

        def show(name: str, done: int, total: int | None, detail: str = "") -> None:
            if name not in tasks:
                tasks[name] = live.add_task("", title=name, detail=detail)
            live.update(tasks[name], completed=done, total=total, detail=detail)

        yield show


class _PlainBar:
    def __init__(self) -> None:
        self._next = time.monotonic() + PLAIN_EVERY_S

    def __call__(self, name: str, done: int, total: int | None, detail: str = "") -> None:
        if time.monotonic() >= self._next:
            self._next += PLAIN_EVERY_S
            say(f"{name}: {done:,}{'' if total is None else f' of {total:,}'} {detail}".rstrip())


class _PlainProgress:
    def __init__(self, title: str) -> None:
        self._title = title
        self._counters = _Counters()
        self._next = time.monotonic() + PLAIN_EVERY_S

    def __call__(self, event: RunEvent) -> None:
        self._counters.add(event)
        if time.monotonic() >= self._next:
            self._next += PLAIN_EVERY_S
            say(f"{self._title}: {self._counters.text()}")
