"""Starting the application, and leaving it: quickly, whatever still runs."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from pathlib import Path

from archon_agent.ending import explain
from archon_agent.options import Loaded
from archon_tui import logs
from archon_tui.app import ArchonApp
from archon_tui.session import Session

# How often threads hand over, in seconds: a key must not wait the interpreter's 5 ms at every step while
# a plan is made in another thread.
SWITCH_S = 0.0005
# What each step of leaving may take, in seconds; together less than one whatever still runs.
CLOSE_S, LEAVE_S = 0.4, 0.1


def is_served() -> bool:
    """Whether this process is one browser's dashboard, started by `--serve`."""
    return "web_driver" in os.environ.get("TEXTUAL_DRIVER", "")


def run(
    loaded: Loaded,
    roots: tuple[Path, ...],
    *,
    read_only: bool = False,
    journal: Path | None = None,
) -> int:
    """Run the dashboard until it is left; the exit code. Raises what ended it, if something did."""
    session = Session(loaded.settings, roots=roots, read_only=read_only)
    first = "repos"
    if journal:
        from archon_tui.replay import Replay

        session.replay, first = Replay.of(journal), "run"
    logs.configure(session.data_file("dashboard.log"))
    app = ArchonApp(session, first=first)
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
    return leave_with(asyncio.new_event_loop(), app, session)


def run_demo(loaded: Loaded, *, read_only: bool = False) -> int:
    """Run the dashboard on a world of its own that is thrown away."""
    from archon_tui.demo import demo_world

    print("archon: making the demo's repositories and ingesting one of them …", file=sys.stderr)
    with demo_world(loaded) as (settings, roots):
        return run(Loaded(settings, None, ()), roots, read_only=read_only)


def leave_with(loop: asyncio.AbstractEventLoop, app: ArchonApp, session: Session) -> int:
    """Run `app` on `loop` and close `session`, then end what is left within a limit.

    A thread that waits for a dead disk or host cannot be ended: then the process leaves without it.
    """

    async def live() -> None:
        try:
            await app.run_async()
        finally:
            closing = asyncio.create_task(_close(app, session))
            if closing in (await asyncio.wait({closing}, timeout=CLOSE_S))[0]:
                closing.result()

    asyncio.set_event_loop(loop)
    crash: Exception | None = None
    try:
        loop.run_until_complete(live())
    except Exception as error:  # noqa: BLE001 - told when everything is closed
        crash = error
    crash = crash or app.crash
    if tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=LEAVE_S))
    generators = loop.create_task(loop.shutdown_asyncgens())
    loop.run_until_complete(asyncio.wait({generators}, timeout=LEAVE_S))
    if not _threads_end(loop):
        code = explain(crash) if crash else app.return_code or 0
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    loop.close()
    if crash:
        raise crash
    return app.return_code or 0


async def _close(app: ArchonApp, session: Session) -> None:
    await app.coordinator.close()
    await session.close()


def _threads_end(loop: asyncio.AbstractEventLoop) -> bool:
    """Wait for the loop's threads; whether they ended within the limit."""
    waiting = threading.Thread(target=_shut_down, args=(loop,), daemon=True)
    waiting.start()
    waiting.join(LEAVE_S)
    return not waiting.is_alive()


def _shut_down(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(loop.shutdown_default_executor())
