"""`archon-agent run`: consume requests, make records."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from archon_agent import console
from archon_agent.exit_codes import ExitCode
from archon_agent.help import App
from archon_agent.options import JsonFlag, Loaded, Verbose, with_settings
from archon_agent.running import run_async
from core import units
from core.consumer import RunSummary

app = App(help="Consume requests and make records.")


@app.command(
    examples=(
        "archon-agent run --drain",
        "archon-agent run --kafka-servers kafka:9092 --http 0.0.0.0:9464",
    )
)
@with_settings("log", "kafka", "agent", "storage", "cache", "http", "breaker", "history")
def run(
    loaded: Loaded,
    drain: Annotated[bool, typer.Option("--drain", help="end when nothing waits any more")] = False,
    no_http: Annotated[bool, typer.Option("--no-http", help="serve no HTTP")] = False,
    as_json: JsonFlag = False,
    verbose: Verbose = 0,
) -> None:
    """Consume requests until stopped; SIGTERM finishes what is in flight first."""
    from archon_agent.logs import configure

    configure(verbose)
    serves = _serves(loaded, drain, no_http)
    summary = run_async(
        lambda stop: _run(loaded, drain, serves=serves, stop=stop), grace_s=loaded.settings.agent.grace
    )
    if as_json:
        console.print_json(summary.to_json())
    else:
        show(summary)
    failed = drain and (summary.files_failed or summary.dead_lettered)
    raise typer.Exit(ExitCode.SOME_FAILED if failed else ExitCode.OK)


def _serves(loaded: Loaded, drain: bool, no_http: bool) -> bool:
    """A run that ends by itself serves HTTP only where somebody asked for it."""
    asked = any(item.option.key == "http.address" and item.source != "default" for item in loaded.provenance)
    return not no_http and (asked or not drain)


async def _run(loaded: Loaded, drain: bool, *, serves: bool, stop: asyncio.Event) -> RunSummary:
    from archon_agent.http.agent import agent_handlers
    from archon_agent.http.server import serving
    from core.assembly.consuming import consuming
    from core.assembly.stores import open_log

    settings = loaded.settings
    waiting = None
    if drain:
        async with open_log(settings) as log:
            waiting = sum(part.lag for part in await log.lag(settings.log.group, settings.log.topics))
    from archon_agent.progress_bars import progress

    with progress("run", total_messages=waiting) as listener:
        async with consuming(settings, listener=listener, service=not drain) as agent:
            http = settings.http if serves else settings.http.model_copy(update={"address": ""})
            handlers = agent_handlers(agent, requests_at_once=http.requests_at_once)
            async with serving(handlers, http) as url:
                if url:
                    console.say(f"serving {url}")
                return await agent.run(drain=drain, stop=stop)


def show(summary: RunSummary) -> None:
    """The summary for people."""
    sources = ", ".join(f"{count:,} {name}" for name, count in summary.by_source.most_common())
    rate = summary.files_processed / max(summary.duration_s, 0.001)
    took = f"{units.duration(summary.duration_s)} ({rate:,.0f}/s)"
    console.out.print(
        f"{summary.files_processed:,} files analysed in {took}{': ' if sources else ''}{sources}"
    )
    for name, count in summary.fallbacks.items():
        console.out.print(console.text(f"  fallback {name}: {count:,}"))
    for count, text in (
        (summary.files_deleted, "paths deleted"),
        (
            summary.files_skipped - summary.files_superseded,
            "files skipped: tests, which the request excludes",
        ),
        (summary.files_superseded, "files skipped: a newer request had overtaken them"),
        (summary.deletions_superseded, "deletions ignored: a newer request had overtaken them"),
        (summary.files_failed, "files failed"),
        (summary.dead_lettered, "dead letters; see archon-agent dlq list"),
        (summary.abandoned, "events left in flight; they will be delivered again"),
    ):
        if count:
            console.out.print(f"  {count:,} {text}")
