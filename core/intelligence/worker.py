"""What runs inside an analysis process."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing import forkserver

from pydantic_core import to_json

from core.errors import AnalysisFailed
from core.events.record import Analysis
from core.intelligence.analyzer import to_record
from core.intelligence.base import FileToAnalyze
from core.machine import end_with_parent, limit_memory, peak_memory

logger = logging.getLogger(__name__)

Analyze = Callable[[FileToAnalyze, float], Analysis]
"""A file and the seconds it may take, to its analysis; may raise AnalysisFailed."""

TOO_LARGE = 75
"""The exit code of a process that has grown and did nothing of the group it was given: EX_TEMPFAIL."""

_GC_THRESHOLD = 100_000


class _Growth:
    """How large this process may grow where the system does not limit it; the groups it has analyzed."""

    limit: int | None = None
    groups = 0


_growth = _Growth()


def prepare(memory_limit: int | None) -> None:
    """Make this process one that nobody need wait for.

    It dies with its parent, at once on SIGTERM, not on SIGINT, which is the agent's to handle; and it
    cannot take more than `memory_limit` bytes of address space. Where the system has no such limit, it
    ends before the next group of files once it has held more.
    """
    _let_go_of_fork_server()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()
    if memory_limit is not None and not limit_memory(memory_limit):
        _growth.limit = memory_limit
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
    if _growth.limit and _growth.groups and peak_memory() > _growth.limit:
        os._exit(TOO_LARGE)
    _growth.groups += bool(files)
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
