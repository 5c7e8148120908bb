"""`archon-agent doctor`: the agent's own checks, from a shell, before anything is started."""

from __future__ import annotations

import typer

from archon_agent import console
from archon_agent.exit_codes import ExitCode
from archon_agent.help import App
from archon_agent.options import JsonFlag, Loaded, with_settings
from archon_agent.running import run_now
from core import units
from core.settings.model import SECTIONS
from core.telemetry.health import Report, Result, State

app = App(help="Check what archon depends on.")
GLYPHS = {State.OK: "✓", State.DEGRADED: "!", State.FAILED: "✗"}


@app.command(examples=("archon-agent doctor --kafka-servers kafka:9092",))
@with_settings(*SECTIONS)
def doctor(loaded: Loaded, as_json: JsonFlag = False) -> None:
    """Check everything these settings need; exit 4 where something required does not work."""
    report = run_now(lambda: _examine(loaded))
    if as_json:
        console.print_json({**report.to_json(), "config_file": _path(loaded)})
    else:
        _show(report, loaded)
    raise typer.Exit(ExitCode.OK if report.ready else ExitCode.UNREACHABLE)


async def _examine(loaded: Loaded) -> Report:
    from core.assembly.examining import examine

    return await examine(loaded.settings)


def _path(loaded: Loaded) -> str | None:
    return str(loaded.config_file) if loaded.config_file else None


def _show(report: Report, loaded: Loaded) -> None:
    rows = [
        (
            f"{GLYPHS[result.state]} {result.state}",
            result.name,
            result.detail or result.error,
            units.duration(result.duration_s),
        )
        for result in report.results
    ]
    console.out.print(console.table(("STATE", "CHECK", "", "TOOK"), rows, right=frozenset({"TOOK"})))
    for result in report.results:
        if hint := _hint(result):
            console.say(hint)
    console.say(f"settings from {_path(loaded) or 'environment and defaults'}; archon-agent config show")


def _hint(result: Result) -> str | None:
    return f"{result.name}: {result.hint}" if result.hint and result.state is not State.OK else None
