"""archon without what macOS lacks: calls of Linux, limits of address space, and /proc.

The commands run in a mount namespace whose /proc is empty, under an interpreter that lacks those calls.
Where namespaces are not allowed /proc stays.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.repositories import commit

ROOT = Path(__file__).parents[2]
LACKING = Path(__file__).parent / "lacking"
EMPTY_PROC = 'mount -t tmpfs none /proc && exec "$@"'
LINUX_ONLY = (
    "posix_fallocate",  # a full disk met by it
    "cannot_live",  # a limit that every system with limits refuses
    "killed_process",  # ps says that a process is a zombie; that of Linux reads /proc
)
FILES = {f"src/module_{number}.py": b"def f():\n    return 1\n" * (number + 1) for number in range(40)}


def _namespaces() -> bool:
    """Whether this process may make a mount namespace and mount something in it."""
    if not shutil.which("unshare"):
        return False
    command = ["unshare", "--mount", "sh", "-c", EMPTY_PROC, "sh", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def portable(*command: str) -> list[str]:
    """`command`, without /proc where that can be taken away."""
    if _namespaces():
        return ["unshare", "--mount", "sh", "-c", EMPTY_PROC, "sh", *command]
    return list(command)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    path = os.pathsep.join((str(LACKING), str(ROOT)))
    return {**os.environ, "PYTHONPATH": path, "ARCHON_HOME": str(tmp_path / "home"), "ARCHON_WORKERS": "1"}


def agent(environment: dict[str, str], *arguments: str) -> tuple[int, Any]:
    command = portable(sys.executable, "-m", "archon_agent", *arguments, "--json")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else done.stderr


def test_the_interpreter_lacks_what_macos_lacks(environment: dict[str, str]) -> None:
    ask = "import os; print(hasattr(os, 'sched_getaffinity'), os.listdir('/proc')[:1])"
    done = subprocess.run(
        portable(sys.executable, "-c", ask), env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("False")
    assert not _namespaces() or done.stdout == "False []\n"


@pytest.mark.slow
def test_the_main_job(environment: dict[str, str], tmp_path: Path) -> None:
    root = commit(tmp_path / "repository", FILES)
    code, ingested = agent(environment, "ingest", str(root))
    assert code == 0, ingested
    code, totals = agent(environment, "run", "--drain")
    assert code == 0, totals
    code, found = agent(environment, "results", "--limit", "100")
    assert code == 0, found
    assert len(found if isinstance(found, list) else found["records"]) == len(FILES)
    code, checks = agent(environment, "doctor")
    assert code == 0, checks
    assert "cannot limit the memory" in json.dumps(checks)


@pytest.mark.parametrize("face", ["archon_agent", "archon_tui"])
def test_windows_is_refused_in_one_line(face: str) -> None:
    start = f"import sys; sys.platform = 'win32'; from {face}.main import main; main()"
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "WSL 2" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_suites_of_what_differs(tmp_path: Path) -> None:
    """The cache, the pool and its processes, the log's leases, and a run of the dashboard."""
    sample = (
        "tests/unit/test_cache.py",
        "tests/unit/test_log_leases.py",
        "tests/faults/test_analyzer_pool.py",
        "tests/tui/test_flows.py",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *sample]
    without = ["--basetemp", str(tmp_path / "sample"), "-k", f"not ({' or '.join(LINUX_ONLY)})"]
    done = subprocess.run(
        portable(*command, *without),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(LACKING), str(ROOT)))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
