"""Two processes on one cache directory, killed between any two steps: the cap holds, bytes are right."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import tempfile
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from core.cache.disk import DiskCache
from tests.faults.cache_worker import work

CAP = 100
CONTENTS = [bytes([65 + number]) * size for number, size in enumerate((0, 20, 40, 60, 100, 101))]
KEYS = [hashlib.sha256(content).hexdigest() for content in CONTENTS]

contents = st.integers(0, len(CONTENTS) - 1)
processes = st.integers(0, 1)
steps = st.none() | st.integers(0, 40)

# Forking from a small server process, so that a new worker costs milliseconds.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.faults.cache_worker"])


class Worker:
    """One process at work on the directory. After it died another takes its place at the next command."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: BaseProcess | None = None
        self._pipe: Connection

    def _start(self) -> None:
        self._pipe, theirs = _context.Pipe()
        self._process = _context.Process(target=work, args=(theirs, str(self._directory), CAP))
        self._process.start()
        theirs.close()
        assert self._pipe.recv() == "ready"

    def tell(self, command: str, argument: Any = None, dying_after: int | None = None) -> Any:
        """Its answer, or None where it died."""
        if self._process is None:
            self._start()
        self._pipe.send((command, argument, dying_after))
        try:
            return self._pipe.recv()
        except EOFError:
            assert dying_after is not None, "a worker died that was not told to"
            self.stop()
            return None

    def stop(self) -> None:
        if self._process:
            self._pipe.close()
            self._process.join(10)
            assert self._process.exitcode in {0, -9}
            self._process = None


def bytes_held(directory: Path) -> int:
    """What the files really take."""
    files = [*directory.glob("objects/*/*"), *directory.glob("partial/*")]
    return sum(path.stat().st_size for path in files)


@pytest.mark.slow
def test_a_process_killed_at_any_step_leaks_nothing(tmp_path: Path) -> None:
    """Kill a put that evicts after 0, 1, 2 … steps: the other process has the whole cache at once."""
    workers = [Worker(tmp_path) for _ in range(2)]
    old, new, all_of_it = 2, 3, 4
    survived = False
    for dying_after in range(200):
        assert workers[1].tell("put", (KEYS[old], CONTENTS[old])) == "stored"
        assert workers[1].tell("put", (KEYS[1], CONTENTS[1])) == "stored"
        survived = workers[0].tell("put", (KEYS[new], CONTENTS[new]), dying_after) is not None
        booked = workers[1].tell("usage")
        assert bytes_held(tmp_path) <= booked <= CAP
        assert workers[1].tell("get", KEYS[new]) in {CONTENTS[new], "absent"}
        assert workers[1].tell("put", (KEYS[all_of_it], CONTENTS[all_of_it])) == "stored"
        assert bytes_held(tmp_path) == workers[1].tell("usage") == CAP
        if survived:
            break
    assert survived
    assert dying_after > 15
    for worker in workers:
        worker.stop()


class TwoProcesses(RuleBasedStateMachine):
    """Puts, gets, crashes and damage in any order."""

    @initialize()
    def start(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="cache-machine-"))
        self.workers = [Worker(self.directory) for _ in range(2)]
        self.observer = DiskCache(self.directory, CAP)
        self.observer.open()

    @rule(process=processes, number=contents, dying_after=steps)
    def put(self, process: int, number: int, dying_after: int | None) -> None:
        answer = self.workers[process].tell("put", (KEYS[number], CONTENTS[number]), dying_after)
        if len(CONTENTS[number]) > CAP:
            assert answer in {"too_large", None}
        elif answer is not None:
            # Nobody holds an entry or works on one now, so that whatever fits the cap fits.
            assert answer == "stored"
            assert self.workers[1 - process].tell("get", KEYS[number]) == CONTENTS[number]

    @rule(process=processes, number=contents, dying_after=steps)
    def get(self, process: int, number: int, dying_after: int | None) -> None:
        answer = self.workers[process].tell("get", KEYS[number], dying_after)
        assert answer in {CONTENTS[number], "absent", "missing", "corrupt", None}

    @rule(process=processes, dying_after=steps)
    def reopen(self, process: int, dying_after: int | None) -> None:
        self.workers[process].tell("reopen", None, dying_after)

    @rule(process=processes, number=contents, damage=st.sampled_from([b"", b"?", b"?" * 60, None]))
    def damage_and_get(self, process: int, number: int, damage: bytes | None) -> None:
        path = self.directory / "objects" / KEYS[number][:2] / KEYS[number]
        if not path.exists():
            return
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage[: path.stat().st_size])
        # A worker that was killed before starts anew here, and makes its books from what is there.
        answer = self.workers[process].tell("get", KEYS[number])
        assert answer in {CONTENTS[number], "absent", "missing", "corrupt"}

    @invariant()
    def size_never_above_the_cap(self) -> None:
        held = bytes_held(self.directory)
        assert held <= CAP
        assert held <= self.observer.usage().entry_bytes + self.observer.usage().reserved_bytes <= CAP

    def teardown(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.observer.close()
        shutil.rmtree(self.directory)


TestTwoProcesses = pytest.mark.slow(TwoProcesses.TestCase)
TestTwoProcesses.settings = settings(
    max_examples=int(os.environ.get("ARCHON_TEST_EXAMPLES", "40")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
