"""Subprocesses of tests: ended and let go of before their event loop is closed, or their test fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import weakref
from asyncio.base_subprocess import BaseSubprocessTransport
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest

_transports: weakref.WeakSet[BaseSubprocessTransport] = weakref.WeakSet()


@contextlib.asynccontextmanager
async def child_process(*argv: str, group: bool = False, **options: Any) -> AsyncIterator[Process]:
    """A process that is killed at the end of the block, if it still runs, and whose pipes are closed then.

    With `group` it leads a process group, and all of that is killed. `options` are those of
    `asyncio.create_subprocess_exec`.
    """
    process = await asyncio.create_subprocess_exec(*argv, start_new_session=group, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(process.pid, signal.SIGKILL)
            elif process.returncode is None:
                process.kill()
        # Without this `wait` never returns where a pipe is not read to its end. It has no public name.
        vars(process)["_transport"].close()
        await process.wait()


def pytest_configure() -> None:
    """Remember every subprocess transport that is made from now on."""
    original = BaseSubprocessTransport.__init__

    def remembering(self: BaseSubprocessTransport, *args: Any, **options: Any) -> None:
        _transports.add(self)
        original(self, *args, **options)

    BaseSubprocessTransport.__init__ = remembering  # type: ignore[method-assign]


def outlived() -> list[str]:
    """The subprocess transports that are open although their event loop is closed; each is told once."""
    found = []
    for transport in list(_transports):
        state = vars(transport)
        if not state.get("_closed", True) and state["_loop"].is_closed():
            _transports.discard(transport)
            found.append(repr(transport))
    return found


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    """Fail the test whose subprocess outlived its event loop.

    Without this the collector finds the transport later, and pytest blames the test that runs then.
    """
    yield
    if leaked := outlived():
        pytest.fail(f"subprocesses outlived their event loop: {', '.join(leaked)}", pytrace=False)
