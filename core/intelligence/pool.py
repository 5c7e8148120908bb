"""Processes that analyze files. A file that crashes or hangs the parser costs that file only."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Final, Self

from pebble import ProcessExpired, ProcessPool

from core.errors import AnalysisFailed, BackendUnavailable
from core.events.record import Analysis
from core.intelligence.base import FileToAnalyze
from core.intelligence.worker import TOO_LARGE, Analyze, analyze_to_json, prepare, run_group
from core.machine import processors
from core.safety.display import display

logger = logging.getLogger(__name__)

DEADLINE_S: Final = 20.0
MEMORY_LIMIT: Final = 2 << 30
"""Bytes of address space per process."""

GROUP_FILES: Final = 32
GROUP_BYTES: Final = 512 << 10
"""Files go to a process in groups of at most this much, so that passing them costs little."""

_PRELOAD: Final = ("__main__", "core.intelligence.worker")
_GRACE_S: Final = 1.0
_STARTS: Final = 3


class AnalyzerPool:
    """Analyzes files in parallel; one process per core unless told otherwise.

    The parser stops itself after `deadline_s` seconds with one file; a process that does not come back
    shortly after that is killed. The files of a group whose process was lost are tried once more, each
    alone, so that exactly the file to blame fails.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        deadline_s: float = DEADLINE_S,
        memory_limit: int | None = MEMORY_LIMIT,
        analyze: Analyze = analyze_to_json,
        warm: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`warm` loads all grammars before a process starts, so that no file has to wait for its own."""
        self._workers = workers or processors()
        self._deadline_s = deadline_s
        self._memory_limit = memory_limit
        self._analyze = analyze
        self._preload = [*_PRELOAD, "core.intelligence.all_grammars"] if warm else [*_PRELOAD]
        self._opening: asyncio.Task[ProcessPool] | None = None
        self._pending: set[Future[list[Analysis | str]]] = set()
        self._clock = clock
        self._moved_at = clock()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin to start the processes; the first `analyze_many` waits for them."""
        if self._opening is None:
            self._opening = asyncio.create_task(asyncio.to_thread(self._open))

    async def stop(self) -> None:
        """Kill the processes, busy or not; calls waiting for them raise `BackendUnavailable`. Idempotent."""
        opening, self._opening = self._opening, None
        if opening is not None:
            with suppress(OSError, RuntimeError):  # where none could be started there is none to stop
                await asyncio.to_thread(_close, await opening)
        for future in tuple(self._pending):
            with suppress(InvalidStateError):
                future.set_exception(_stopped())

    async def analyze_many(self, files: Sequence[FileToAnalyze]) -> list[Analysis | AnalysisFailed]:
        """One answer per file, in order; a file that cannot be analyzed costs its neighbours nothing.

        Raises `BackendUnavailable` where no process can be started.
        """
        groups = await asyncio.gather(*(self._run_group(group) for group in grouped(files)))
        return [answer for group in groups for answer in group]

    async def _run_group(self, group: list[FileToAnalyze]) -> list[Analysis | AnalysisFailed]:
        try:
            answers = await self._submit(group)
        except TimeoutError:
            reason = f"the analysis took longer than {self._deadline_s:g} s"
        except ProcessExpired as error:
            if error.exitcode == TOO_LARGE:
                return await self._run_group(group)  # a new process takes it
            reason = f"the analyzer crashed ({_exit_in_words(error.exitcode)})"
        else:
            return [AnalysisFailed(answer) if isinstance(answer, str) else answer for answer in answers]
        if len(group) == 1:
            logger.warning("%s: %s", display(group[0].path), reason)
            return [AnalysisFailed(reason)]
        alone = await asyncio.gather(*(self._run_group([file]) for file in group))
        return [answer for (answer,) in alone]

    async def _submit(self, group: list[FileToAnalyze]) -> list[Analysis | str]:
        """The worker's answers. Raises `TimeoutError` or `ProcessExpired` where the worker was lost."""
        for _ in range(_STARTS):
            pool = await self._running()
            try:
                future = pool.schedule(
                    run_group,
                    args=(self._analyze, group, self._deadline_s),
                    timeout=self._deadline_s + _GRACE_S,
                )
                if not self._pending:
                    self._moved_at = self._clock()
                self._pending.add(future)
                try:
                    answers = await self._answer(future)
                finally:
                    self._pending.discard(future)
                    self._moved_at = self._clock()
                if answers is not None:
                    return answers
                logger.warning("the analysis processes take no work: they are started anew")
                await self._replace(pool)
            except RuntimeError as error:  # the pool is broken: an idle process died, or none could start
                logger.warning("the analysis processes are started anew: %s", error)
                await self._replace(pool)
        raise BackendUnavailable(
            "the analysis processes do not stay alive",
            hint="look for the out-of-memory killer in the system log",
        )

    async def _answer(self, future: Future[list[Analysis | str]]) -> list[Analysis | str] | None:
        """The worker's answer; None where the workers have to be replaced.

        pebble's timeout begins when a worker takes the task. A worker that is frozen takes none, so nothing
        at all ends for longer than a task may take.
        """
        waiting = asyncio.wrap_future(future)
        limit = self._deadline_s + 2 * _GRACE_S
        try:
            while True:
                await asyncio.wait({waiting}, timeout=limit)
                if waiting.cancelled():
                    return None  # its pool was closed
                if waiting.done():
                    return waiting.result()
                if self._clock() - self._moved_at >= limit:
                    return None
        finally:
            waiting.cancel()

    async def _running(self) -> ProcessPool:
        if self._opening is None:
            raise _stopped()
        try:
            return await asyncio.shield(self._opening)
        except (OSError, RuntimeError) as error:
            raise BackendUnavailable(
                f"no analysis process can be started: {error.__cause__ or error}",
                hint="they need a writable TMPDIR and shared memory (/dev/shm)",
            ) from error

    async def _replace(self, broken: ProcessPool) -> None:
        """Open another pool, unless somebody has done so already."""
        opening = self._opening
        if opening is not None and opening.done() and opening.result() is broken:
            self._opening = asyncio.create_task(asyncio.to_thread(self._open))
            await asyncio.to_thread(_close, broken)

    def _open(self) -> ProcessPool:
        # Not fork: this process has threads. The fork server has none, and has the analyzer loaded.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(self._preload)
        pool = ProcessPool(
            max_workers=self._workers, initializer=prepare, initargs=(self._memory_limit,), context=context
        )
        pool.schedule(run_group, args=(self._analyze, (), self._deadline_s))  # starts the processes
        return pool


def _stopped() -> BackendUnavailable:
    return BackendUnavailable("the analysis processes are stopped")


def _close(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]  # pebble types its public functions only in part
    pool.join()


def _exit_in_words(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
    return f"exit code {code}"


def grouped(files: Sequence[FileToAnalyze]) -> Iterator[list[FileToAnalyze]]:
    """`files` in order, in groups of at most `GROUP_FILES` and `GROUP_BYTES`, or of one larger file."""
    group: list[FileToAnalyze] = []
    room = GROUP_BYTES
    for file in files:
        if group and (len(group) == GROUP_FILES or len(file.content) > room):
            yield group
            group, room = [], GROUP_BYTES
        group.append(file)
        room -= len(file.content)
    if group:
        yield group
