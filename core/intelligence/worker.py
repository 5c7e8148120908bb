"""What runs inside an analysis process."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing import forkserver

from pydantic_core import to_json

from core.errors import AnalysisFailed
from core.events.record import Analysis
from core.intelligence.analyzer import to_record
from core.intelligence.base import FileToAnalyze

logger = logging.getLogger(__name__)

Analyze = Callable[[FileToAnalyze, float], Analysis]
"""A file and the seconds it may take, to its analysis; may raise AnalysisFailed."""

_PR_SET_PDEATHSIG = 1
_GC_THRESHOLD = 100_000


def prepare(memory_limit: int | None) -> None:
    """Make this process one that nobody need wait for.

    It dies with its parent (on Linux), at once on SIGTERM, not on SIGINT, which is the agent's to
    handle; and it cannot take more than `memory_limit` bytes of address space.
    """
    _let_go_of_fork_server()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    if memory_limit is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, hard))
    # Analyses make no reference cycles worth looking for after every few hundred nodes.
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)


def _let_go_of_fork_server() -> None:
    """Close this end of the pipe whose last writer's death ends the fork server.

    Every process it forks holds one, in case it forks, too; with it a process that hangs would keep the
    fork server, and so itself, alive after the agent was killed.
    """
    os.close(vars(vars(forkserver)["_forkserver"]).pop("_forkserver_alive_fd"))  # it has no public name


def analyze_to_json(file: FileToAnalyze, deadline_s: float) -> Analysis:
    """The file's analysis, as JSON already."""
    record = to_record(file, deadline_s=deadline_s)
    lines = record["lines"]
    return Analysis(
        json=to_json(record),
        analyzer_version=record["analyzer_version"],
        language=record["language"],
        code_lines=lines.code if lines else None,
        max_complexity=record["max_complexity"],
        quality=record["scores"]["quality"]["value"],
        names=tuple([symbol["name"] for symbol in record["symbols"]]),
    )


def run_group(
    analyze_one: Analyze, files: Sequence[FileToAnalyze], deadline_s: float
) -> list[Analysis | str]:
    """One answer per file, in order: the analysis, or in words why there is none."""
    return [_run_one(analyze_one, file, deadline_s) for file in files]


def _run_one(analyze_one: Analyze, file: FileToAnalyze, deadline_s: float) -> Analysis | str:
    try:
        return analyze_one(file, deadline_s)
    except AnalysisFailed as error:
        return str(error)
    except MemoryError:
        return "the analysis ran out of memory"
    except Exception as error:  # noqa: BLE001 - one bad file must stay one bad file
        return f"the analyzer failed with {type(error).__name__}"
