"""The suite itself: what it keeps away from tests, and whom it blames for what they leave behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE

from hypothesis import given
from hypothesis import strategies as st

from core.settings.model import options
from tests.environment import PREFIXES, scrubbed
from tests.subprocesses import child_process, outlived

SPEAKS = (sys.executable, "-c", "print('x' * 1_000_000, flush=True); input()")


@given(st.sampled_from(PREFIXES), st.text("ABC_", min_size=1))
def test_what_changes_outcomes_is_taken_out(prefix: str, rest: str) -> None:
    hostile = {
        prefix + rest: "x",
        "NO_COLOR": "1",
        "LANG": "tr_TR",
        "PATH": "/bin",
        "HOME": "/h",
        "TZ": "Asia/Tokyo",
    }
    left = scrubbed(hostile, "/own")
    assert left.keys() == {"PATH", "HOME", "LC_ALL", "TERM", "TZ"}
    assert (left["PATH"], left["HOME"], left["TZ"]) == ("/bin", "/own", "UTC")


def test_no_setting_comes_from_the_environment_of_the_suite() -> None:
    assert not os.environ.keys() & {name for option in options() for name in option.env}


def test_a_subprocess_that_outlives_its_loop_is_named() -> None:
    kept = []

    async def leak() -> None:
        kept.append(await asyncio.create_subprocess_exec(*SPEAKS, stdin=PIPE, stdout=PIPE))

    asyncio.run(leak())
    (process,) = kept
    os.kill(process.pid, signal.SIGKILL)
    (named,) = outlived()
    assert str(process.pid) in named
    assert outlived() == [], "one test is blamed, not all that follow"
    vars(vars(process)["_transport"])["_closed"] = True  # or the collector makes a later test fail


def test_a_subprocess_of_the_helper_leaves_nothing() -> None:
    async def use() -> None:
        async with child_process(*SPEAKS, stdin=PIPE, stdout=PIPE) as process:
            assert process.stdout
            assert await process.stdout.read(1) == b"x"

    asyncio.run(use())
    assert outlived() == []
