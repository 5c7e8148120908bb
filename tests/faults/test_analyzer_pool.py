"""Real processes that crash, hang and are killed: one file fails, never the agent."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import AnalysisFailed, BackendUnavailable
from core.events.record import Analysis
from core.intelligence.base import FileToAnalyze
from core.intelligence.languages import GRAMMARS
from core.intelligence.pool import GROUP_BYTES, GROUP_FILES, AnalyzerPool, grouped
from tests.faults.faulty_analyzers import obey
from tests.subprocesses import child_process

Answers = list[Analysis | AnalysisFailed]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def opened(stack: AsyncExitStack, *, workers: int = 1, deadline_s: float = 30.0) -> AnalyzerPool:
    return await stack.enter_async_context(AnalyzerPool(workers=workers, deadline_s=deadline_s, analyze=obey))


def python(*contents: str) -> list[FileToAnalyze]:
    return [FileToAnalyze(f"{n}.py", content.encode(), "python") for n, content in enumerate(contents)]


def told(answers: Answers) -> list[str]:
    """The names of each file's symbols, or why it failed."""
    return [
        str(answer) if isinstance(answer, AnalysisFailed) else " ".join(answer.names) for answer in answers
    ]


async def pid_of_worker(pool: AnalyzerPool) -> int:
    (answer,) = await pool.analyze_many(python("pid"))
    assert isinstance(answer, Analysis)
    return int(answer.language or "")


async def gone(pid: int, seconds: float = 20.0) -> None:
    """Returns when the process has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        await asyncio.to_thread(psutil.Process(pid).wait, seconds)


async def test_answers_come_in_the_order_of_the_files(stack: AsyncExitStack) -> None:
    pool = await opened(stack, workers=2)
    answers = await pool.analyze_many(python(*(f"def f{n}(): pass\n" for n in range(3 * GROUP_FILES + 1))))
    assert told(answers) == [f"f{n}" for n in range(3 * GROUP_FILES + 1)]


async def test_an_analysis_is_the_same_as_in_this_process(stack: AsyncExitStack) -> None:
    from core.intelligence.analyzer import analyze

    pool = await opened(stack)
    (file,) = python('def f(x):\n    """Doc."""\n    return x if x else 1\n')
    (answer,) = await pool.analyze_many([file])
    assert isinstance(answer, Analysis)
    assert answer.model() == analyze(file)
    assert answer == Analysis.of(analyze(file))


async def test_nothing_to_analyze_is_no_work(stack: AsyncExitStack) -> None:
    assert await (await opened(stack)).analyze_many([]) == []


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ("segfault", "the analyzer crashed (SIGSEGV)"),
        ("exit 3", "the analyzer crashed (exit code 3)"),
        ("raise", "the analyzer failed with ValueError"),
        (f"allocate {64 << 30}", "the analysis ran out of memory"),
    ],
)
async def test_a_file_that_crashes_its_process_is_one_failed_file(
    stack: AsyncExitStack, order: str, reason: str
) -> None:
    pool = await opened(stack)
    answers = await pool.analyze_many(python("def a(): pass\n", order, "def b(): pass\n"))
    assert told(answers) == ["a", reason, "b"]
    assert told(await pool.analyze_many(python("def again(): pass\n"))) == ["again"]


@pytest.mark.parametrize("order", ["hang", "exit 0"])
async def test_a_file_that_never_comes_back_is_one_failed_file(stack: AsyncExitStack, order: str) -> None:
    pool = await opened(stack, deadline_s=0.5)
    answers = await pool.analyze_many(python("def a(): pass\n", order, "def b(): pass\n"))
    assert told(answers) == ["a", "the analysis took longer than 0.5 s", "b"]


async def test_a_slow_parse_stops_itself_and_its_process_lives_on(stack: AsyncExitStack) -> None:
    pool = await opened(stack, deadline_s=0.05)
    pid = await pid_of_worker(pool)
    answers = await pool.analyze_many(python("x = [1, 2, 3]\n" * 400_000))
    assert told(answers) == ["parsing took longer than its deadline"]
    assert await pid_of_worker(pool) == pid


async def test_several_bad_files_fail_and_all_others_succeed(stack: AsyncExitStack) -> None:
    pool = await opened(stack, workers=2)
    contents = [f"def f{n}(): pass\n" for n in range(2 * GROUP_FILES)]
    for bad in (0, 7, GROUP_FILES, 2 * GROUP_FILES - 1):
        contents[bad] = "segfault"
    expected = [
        "the analyzer crashed (SIGSEGV)" if content == "segfault" else f"f{n}"
        for n, content in enumerate(contents)
    ]
    assert told(await pool.analyze_many(python(*contents))) == expected


async def test_an_idle_process_that_is_killed_is_replaced(stack: AsyncExitStack) -> None:
    pool = await opened(stack)
    pid = await pid_of_worker(pool)
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    assert await pid_of_worker(pool) != pid


async def test_a_process_that_is_frozen_before_it_takes_work_is_replaced(stack: AsyncExitStack) -> None:
    pool = await opened(stack, deadline_s=1.0)
    pid = await pid_of_worker(pool)
    os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(60):
            assert told(await pool.analyze_many(python("def f(): pass\n", "def g(): pass\n"))) == ["f", "g"]
        await gone(pid)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def test_an_interrupt_of_the_terminal_leaves_the_processes_alone(stack: AsyncExitStack) -> None:
    pool = await opened(stack)
    pid = await pid_of_worker(pool)
    os.kill(pid, signal.SIGINT)
    assert await pid_of_worker(pool) == pid


async def test_processes_that_cannot_live_are_an_unavailable_backend_not_bad_files() -> None:
    async with AnalyzerPool(workers=1, memory_limit=1 << 80) as pool:
        with pytest.raises(BackendUnavailable, match="do not stay alive"):
            await pool.analyze_many(python("x = 1\n"))


async def test_a_stop_does_not_wait_for_a_process_that_hangs(stack: AsyncExitStack, tmp_path: Path) -> None:
    fifo = tmp_path / "pid"
    os.mkfifo(fifo)
    pool = await opened(stack)
    waiting = asyncio.create_task(pool.analyze_many(python(f"tell-and-hang {fifo}")))
    pid = int(await asyncio.to_thread(fifo.read_text))
    started = time.monotonic()
    await pool.stop()
    assert time.monotonic() - started < 2.5  # a process that ignored SIGTERM would take 3 s
    await gone(pid)
    with pytest.raises(BackendUnavailable, match="stopped"):
        await waiting


async def test_a_cancelled_call_frees_its_process(stack: AsyncExitStack, tmp_path: Path) -> None:
    fifo = tmp_path / "pid"
    os.mkfifo(fifo)
    pool = await opened(stack)
    waiting = asyncio.create_task(pool.analyze_many(python(f"tell-and-hang {fifo}")))
    pid = int(await asyncio.to_thread(fifo.read_text))
    waiting.cancel()
    await gone(pid)
    assert told(await pool.analyze_many(python("def f(): pass\n"))) == ["f"]


async def test_a_pool_that_is_stopped_or_was_never_started_says_so() -> None:
    pool = AnalyzerPool(workers=1)
    await pool.stop()
    with pytest.raises(BackendUnavailable, match="stopped"):
        await pool.analyze_many(python("x = 1\n"))
    await pool.start()
    await pool.stop()
    await pool.stop()
    with pytest.raises(BackendUnavailable, match="stopped"):
        await pool.analyze_many(python("x = 1\n"))


WARM = """
import asyncio
from core.intelligence.base import FileToAnalyze
from core.intelligence.pool import AnalyzerPool
from tests.faults.faulty_analyzers import obey

async def main():
    async with AnalyzerPool(workers=1, analyze=obey, warm=True) as pool:
        (answer,) = await pool.analyze_many([FileToAnalyze("a.py", b"grammars")])
        print(answer.language)

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_a_warm_pool_has_every_grammar_loaded_before_the_first_file() -> None:
    async with child_process(sys.executable, "-c", WARM, stdout=asyncio.subprocess.PIPE) as agent:
        said, _ = await agent.communicate()
    assert int(said) == len(GRAMMARS)


PARENT = """
import asyncio, os, sys
from core.intelligence.base import FileToAnalyze
from core.intelligence.pool import AnalyzerPool
from tests.faults.faulty_analyzers import obey

async def main():
    async with AnalyzerPool(workers=1, analyze=obey) as pool:
        await pool.analyze_many([FileToAnalyze("a.py", b"tell-and-hang " + os.fsencode(sys.argv[1]))])

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_processes_die_with_an_agent_that_is_killed(tmp_path: Path) -> None:
    fifo = tmp_path / "pid"
    os.mkfifo(fifo)
    async with child_process(sys.executable, "-c", PARENT, str(fifo)):
        pid = int(await asyncio.to_thread(fifo.read_text))
    await gone(pid)


@given(sizes=st.lists(st.integers(0, 3 * GROUP_BYTES), max_size=100))
def test_groups_keep_the_order_and_the_limits(sizes: list[int]) -> None:
    zeros = bytes(max(sizes, default=0))
    files = [FileToAnalyze(str(n), zeros[:size]) for n, size in enumerate(sizes)]
    groups = list(grouped(files))
    assert [file for group in groups for file in group] == files
    for group in groups:
        assert 1 <= len(group) <= GROUP_FILES
        assert len(group) == 1 or sum(len(file.content) for file in group) <= GROUP_BYTES
    for one, following in itertools.pairwise(groups):
        full = len(one) == GROUP_FILES
        assert full or sum(len(file.content) for file in (*one, following[0])) > GROUP_BYTES
