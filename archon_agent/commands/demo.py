"""`archon-agent demo`: the main job on embedded defaults, and a summary to enjoy."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from archon_agent import console
from archon_agent.commands.ingest import show as show_ingest
from archon_agent.help import App
from archon_agent.options import Verbose
from archon_agent.running import run_async
from core import units

app = App(help="Ingest a repository and analyse it, all on this machine.")

NEXT_STEPS = """
Try next:
  archon-agent plan PATH             every file with its strategy and why
  archon-agent ingest PATH           publish what changed since the last time
  archon-agent run --drain           analyse what was published
  archon-agent search WORD           find a word in paths and symbols
  archon-agent results --sort complexity --limit 20
  archon-agent config show           every setting and where it comes from
""".strip("\n")


@app.command(examples=("archon-agent demo .",))
def demo(
    path: Annotated[Path, typer.Argument(help="the repository to ingest")] = Path(),
    keep: Annotated[
        Path | None, typer.Option(help="keep the demo's state in this directory", show_default=False)
    ] = None,
    verbose: Verbose = 0,
) -> None:
    """Ingest PATH through the embedded log, analyse it, and show what came out.

    State goes to a directory that is removed at the end, so a demo never mixes with real work.
    """
    from archon_agent.logs import configure

    configure(verbose)
    if keep:
        run_async(lambda stop: _demo(path, keep, stop))
    else:
        with tempfile.TemporaryDirectory(prefix="archon-demo-") as home:
            run_async(lambda stop: _demo(path, Path(home), stop))
    console.out.print(NEXT_STEPS, markup=False)


async def _demo(path: Path, home: Path, stop: asyncio.Event) -> None:
    from core.assembly.consuming import consuming
    from core.assembly.publishing import ingestion
    from core.assembly.source import Target
    from core.assembly.stores import open_index
    from core.settings import load

    settings = load({"home": home}).settings
    target = Target(path)
    from archon_agent.progress_bars import progress

    with progress("publish") as listener:
        async with ingestion(settings, target, listener=listener) as job:
            published = await job.publisher.publish(job.planner.stream(), stop=stop)
    show_ingest(published)
    from archon_agent.progress_bars import progress

    with progress("analyse", total_messages=published.batches) as listener:
        async with consuming(settings, listener=listener, service=False) as consumer:
            consumed = await consumer.run(drain=True, stop=stop)
    rate = consumed.files_processed / max(consumed.duration_s, 0.001)
    console.out.print(
        f"{published.project_name}: analysed {consumed.files_processed:,} files"
        f" in {units.duration(consumed.duration_s)} ({rate:,.0f}/s), {consumed.files_failed:,} failed\n",
        markup=False,
    )
    async with open_index(settings) as index:
        _show(await index.summary(published.project_name))


def _show(summary: Any) -> None:
    languages = [
        (item.language or "–", f"{item.files:,}", f"{item.code_lines:,}", units.size(item.bytes))
        for item in summary.languages[:8]
    ]
    right = frozenset({"FILES", "CODE LINES", "SIZE", "CC"})
    console.out.print(console.table(("LANGUAGE", "FILES", "CODE LINES", "SIZE"), languages, right=right))
    console.out.print()
    functions = [
        (item.complexity, item.name, f"{item.path}:{item.start_line}")
        for item in summary.complex_functions[:5]
    ]
    if functions:
        console.out.print(console.table(("CC", "MOST COMPLEX FUNCTIONS", "WHERE"), functions, right=right))
        console.out.print()
