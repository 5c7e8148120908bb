"""`python -m tests.fetch_child URL COMMIT WANTED CACHE`: fetches in a process with memory of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from core.errors import ArchonError
from core.fetchers.base import HELD_UNTOLD
from core.git.source import GitContent, GitSource, Wanted
from core.git.transfer import TransferLimits
from tests.git_fetching import fetching


async def fetch(source: GitSource, items: list[Wanted], cache: Path) -> list[GitContent | ArchonError]:
    limits = TransferLimits(120, 60, 2 << 30)
    async with fetching(cache, cap=4 << 30, limits=limits) as parts:
        return await parts.fetcher.fetch_many(source, items, hold=HELD_UNTOLD)


def main(url: str, commit: str, wanted: str, cache: str) -> None:
    """WANTED is a JSON list of paths and blob ids; prints how many were had, and peak memory in bytes."""
    items = [Wanted(path, blob) for path, blob in json.loads(Path(wanted).read_text())]
    answers = asyncio.run(fetch(GitSource(url, commit), items, Path(cache)))
    # ru_maxrss would count what the parent had before exec.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024
    print(json.dumps({"files": sum(isinstance(answer, GitContent) for answer in answers), "peak": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
