"""Runs every test, prints coverage, and fails below a gate. Quick tests first, slow ones last.

Arguments are passed on to pytest; with any, the gates are left out, because not all tests ran.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.environment import scrubbed

# Name, least percent (the checklist's), files.
GATES: tuple[tuple[str, int, str], ...] = (
    (
        "publisher and batches",
        90,
        "core/publisher.py,core/packing.py,core/dry_run.py,core/batches.py,core/planner.py,core/manifest.py",
    ),
    ("consumer and batch processor", 90, "core/consumer.py,core/processor.py,core/dead_letters.py"),
    ("intelligence", 90, "core/intelligence/*"),
    ("storage", 85, "core/storage/*,core/cache/*,core/*/object_storage.py"),
    ("Git", 80, "core/git/*,core/*/git_reference.py"),
)


def main(arguments: list[str]) -> int:
    """The exit code of the first thing that failed, else 0."""
    if arguments:
        return _run("pytest", *arguments)
    _run("coverage", "erase")
    parallel = ("-n", "2", "--dist", "loadgroup")
    for selection in ("not slow", "slow"):
        if code := _run("pytest", "-q", *parallel, "--cov", "--cov-append", "--cov-report=", "-m", selection):
            return code
    _combine()
    _run("coverage", "report")
    worst = 0
    for name, least, files in GATES:
        print(f"gate: {name} at least {least} %", flush=True)
        worst = max(
            worst, _run("coverage", "report", "--format=total", f"--include={files}", f"--fail-under={least}")
        )
    return worst


def _combine() -> None:
    """Join what every process measured; those that tests kill leave files that cannot be read."""
    _run("coverage", "combine", "--quiet", "--append")
    for left in Path().glob(".coverage.*"):
        left.unlink()


def _run(module: str, *arguments: str) -> int:
    with tempfile.TemporaryDirectory(prefix="archon-tests-home-") as home:
        environ = scrubbed(os.environ, home)
        return subprocess.run([sys.executable, "-m", module, *arguments], env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
