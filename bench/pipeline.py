"""The main job against its floors: publish, unchanged re-ingest, consume, memory, start.

`python -m bench pipeline -- [PATH]` measures a repository of yours instead of the generated corpus.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench import corpus, measure
from bench.measure import Row, Run
from core.telemetry.cpu import cpu_seconds

ROUNDS = 5
# What CPU times of processes are counted in.
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def main(arguments: list[str]) -> None:
    """Run everything and write docs/performance/pipeline.md."""
    with tempfile.TemporaryDirectory(prefix="archon-bench-") as scratch:
        work = Path(scratch)
        source = Path(arguments[0]) if arguments else corpus.make(work / "corpus", 5000)
        rows = [*_publish(source, work), *_consume(source, work)]
        if not arguments:
            rows += _memory(work)
        rows.append(_start())
        subject = "the given repository" if arguments else "a generated corpus of 5,000 files, 40 MB"
    measure.write(
        "pipeline",
        "The main job",
        rows,
        f"Measured on {subject}; medians of {ROUNDS} alternating runs. [Where the time goes](findings.md).",
    )


def _publish(source: Path, work: Path) -> list[Row]:
    def ingest() -> Run:
        shutil.rmtree(work / "home", ignore_errors=True)
        return _child("ingest", source, work / "home")

    floor, first, again = measure.alternate(
        ROUNDS,
        lambda: _child("floor-publish", source),
        ingest,
        lambda: _child("ingest", source, work / "home"),
    )
    ratio, unchanged = measure.median_ratio(first, floor), measure.median_ratio(again, first)
    return [
        _row("publish", first, floor, ratio, 2.0),
        _cpu_row("… CPU time", first, floor),
        _row("unchanged re-ingest (floor: first run)", again, first, unchanged, 0.3),
    ]


def _consume(source: Path, work: Path) -> list[Row]:
    _child("ingest", source, work / "published")

    def run() -> Run:
        shutil.rmtree(work / "home", ignore_errors=True)
        shutil.copytree(work / "published", work / "home")
        return _child("run", source, work / "home")

    floor, runs = measure.alternate(ROUNDS, lambda: _child("floor-parse", source), run)
    p99 = statistics.median(run.details["p99_ms"] for run in runs)
    return [
        _row("consume (`run --drain`)", runs, floor, measure.median_ratio(runs, floor), 2.0),
        _cpu_row("… CPU time of all processes", runs, floor),
        Row("analysis per file ≤ 100 KB, p99", f"{p99:.1f} ms", "–", "–", "≤ 50 ms", p99 <= 50),
    ]


def _memory(work: Path) -> list[Row]:
    peaks: dict[int, float] = {}
    for files in (10_000, 100_000):
        source = work / f"memory-{files}"
        corpus.make_small(source, files)
        peaks[files] = _child("ingest", source, work / f"memory-home-{files}").peak_rss / 2**20
    ratio = peaks[100_000] / peaks[10_000]
    large, small = f"{peaks[100_000]:.0f} MB", f"{peaks[10_000]:.0f} MB"
    return [
        Row("peak memory of ingest, 100,000 files", large, "–", "–", "≤ 250 MB", peaks[100_000] <= 250),
        Row("… against 10,000 files", large, small, f"{ratio:.2f}", "≤ 1.3", ratio <= 1.3),
    ]


def _start() -> Row:
    def command(*words: str) -> Run:
        started = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        return Run(time.perf_counter() - started, 0, {})

    agent = str(Path(sys.executable).with_name("archon-agent"))
    starts, imports = measure.alternate(
        15, lambda: command(agent, "--version"), lambda: command(sys.executable, "-c", "import typer")
    )
    return _row(
        "start: `archon-agent --version` (floor: `import typer`)",
        starts,
        imports,
        measure.median_ratio(starts, imports),
        2.0,
    )


def _row(name: str, subject: list[Run], floor: list[Run], ratio: float, target: float) -> Row:
    figure, floor_figure = (f"{measure.median(runs):.3f} s" for runs in (subject, floor))
    return Row(name, figure, floor_figure, f"{ratio:.2f}", f"≤ {target}", ratio <= target)


def _cpu_row(name: str, subject: list[Run], floor: list[Run]) -> Row:
    """The same by CPU time, which other work on the machine hardly touches."""
    used, least = ([run.details["cpu_s"] for run in runs] for runs in (subject, floor))
    ratio = statistics.median(a / max(b, TICK_S) for a, b in zip(used, least, strict=True))
    figure, floor_figure = (f"{statistics.median(each):.3f} s" for each in (used, least))
    return Row(name, figure, floor_figure, f"{ratio:.2f}", "–", None)


def _child(task: str, source: Path, home: Path | None = None) -> Run:
    arguments = [task, str(source)] + ([str(home)] if home else [])
    return measure.child("bench.pipeline", *arguments)


# --- what runs in the children ---


class _Meter:
    """Wall and CPU seconds from now on, CPU of this process and all below it."""

    def __init__(self) -> None:
        self._started, self._cpu = time.perf_counter(), cpu_seconds()
        self._seconds = self._cpu_s = 0.0

    def stop_cpu(self) -> None:
        self._cpu_s = self._cpu_s or cpu_seconds() - self._cpu

    def stop(self) -> None:
        self.stop_cpu()
        self._seconds = self._seconds or time.perf_counter() - self._started

    def report(self, **details: float) -> None:
        self.stop()
        measure.report_child(self._seconds, cpu_s=self._cpu_s, **details)


def _floor_publish(source: Path) -> None:
    """List the index, read, SHA-256, JSON-encode, in one plain loop."""
    from dulwich.index import Index

    meter = _Meter()
    for raw in Index(str(source / ".git" / "index")):
        content = (source / os.fsdecode(raw)).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        json.dumps(
            {"path": os.fsdecode(raw), "checksum": digest, "content": content.decode("utf-8", "replace")}
        )
    meter.report()


def _ingest(source: Path, home: Path) -> None:
    from core.assembly.publishing import ingestion
    from core.assembly.source import Target
    from core.settings import load

    settings = load({"home": home}).settings

    async def work() -> int:
        async with ingestion(settings, Target(source)) as job:
            return (await job.publisher.publish(job.planner.stream())).files_published

    meter = _Meter()
    meter.report(published=asyncio.run(work()))


def _floor_parse(source: Path) -> None:
    """Tree-sitter alone over the same files in as many processes as the agent has."""
    paths = [path for path in sorted(source.rglob("*")) if path.is_file() and ".git" not in path.parts]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_parse_group, [[]] * (os.cpu_count() or 1)))  # start the workers, load the module
        meter = _Meter()
        groups = [paths[start : start + 64] for start in range(0, len(paths), 64)]
        list(pool.map(_parse_group, groups))
        meter.report()


def _parse_group(paths: list[Path]) -> None:
    from core.intelligence.languages import compiled
    from core.repository.languages import language_of

    for path in paths:
        if syntax := compiled(language_of(path.name) or ""):
            syntax.parser.parse(path.read_bytes())


def _run(home: Path) -> None:
    from core.assembly.consuming import consuming
    from core.settings import load

    settings = load({"home": home}).settings

    meter = _Meter()

    async def work() -> int:
        async with consuming(settings, service=False) as consumer:
            summary = await consumer.run(drain=True, stop=asyncio.Event())
            meter.stop_cpu()  # while the analysis processes are there to be asked
            return summary.files_processed

    processed = asyncio.run(work())
    meter.stop()
    meter.report(processed=processed, p99_ms=_p99_ms())


def _p99_ms() -> float:
    """Time to analyse each file of a sample, in this process, at the 99th percentile."""
    from core.intelligence.analyzer import analyze
    from core.intelligence.base import FileToAnalyze

    times = []
    for relative, content in corpus.generate(1000, seed=11):
        started = time.perf_counter()
        analyze(FileToAnalyze(relative, content))
        times.append((time.perf_counter() - started) * 1000)
    return statistics.quantiles(times, n=100)[98]


if __name__ == "__main__":
    task, source = sys.argv[1], Path(sys.argv[2])
    match task:
        case "floor-publish":
            _floor_publish(source)
        case "ingest":
            _ingest(source, Path(sys.argv[3]))
        case "floor-parse":
            _floor_parse(source)
        case "run":
            _run(Path(sys.argv[3]))
