"""`archon-agent history`: what is remembered of how files were delivered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from archon_agent import console
from archon_agent.help import App
from archon_agent.options import JsonFlag, Loaded, with_settings
from archon_agent.running import run_now

if TYPE_CHECKING:
    from core.history.store import HistoryTotals

app = App(help="The history of how files were delivered.", no_args_is_help=True)


@app.command()
@with_settings("kafka", "log", "history")
def sync(loaded: Loaded, as_json: JsonFlag = False) -> None:
    """Join what agents said on the results topic with what was published from here."""
    taken, totals = run_now(lambda: _sync(loaded))
    _show(totals, as_json, taken)


@app.command()
@with_settings("history")
def show(loaded: Loaded, as_json: JsonFlag = False) -> None:
    """Show how much there is."""
    _show(run_now(lambda: _totals(loaded)), as_json)


async def _sync(loaded: Loaded) -> tuple[int, HistoryTotals]:
    from core.assembly.stores import open_history, open_log
    from core.history import observing

    async with open_log(loaded.settings) as log, open_history(loaded.settings) as history:
        taken = await observing.sync(log, history)
        return taken, await history.totals()


async def _totals(loaded: Loaded) -> HistoryTotals:
    from core.assembly.stores import open_history

    async with open_history(loaded.settings) as history:
        return await history.totals()


def _show(totals: HistoryTotals, as_json: bool, taken: int | None = None) -> None:
    document: dict[str, Any] = {
        "joined": totals.joined,
        "waiting": totals.waiting,
        "first": _moment(totals.first),
        "last": _moment(totals.last),
    }
    if taken is not None:
        document["taken"] = taken
    if as_json:
        console.print_json(document)
        return
    if taken is not None:
        console.say(f"{taken:,} observations taken over from the topics")
    console.out.print(f"{totals.joined:,} observations, {totals.waiting:,} with one half only")
    if totals.first is not None:
        console.out.print(f"from {document['first']} to {document['last']}")


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
