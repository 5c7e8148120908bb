"""`archon-agent ingest`: publish a repository's files."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archon_agent import console
from archon_agent.confirmation import confirm
from archon_agent.exit_codes import ExitCode
from archon_agent.help import App
from archon_agent.options import JsonFlag, Loaded, Verbose, with_settings
from archon_agent.running import run_async
from archon_agent.target import with_target
from core import units
from core.deletions import MassDeletionHeld
from core.safety.display import display
from core.safety.redact import redact

if TYPE_CHECKING:
    import asyncio

    from core.summary import IngestSummary

app = App(help="Publish the files of a repository.")

NOTHING = "there is nothing to ingest: no files (--include-untracked takes those that Git does not track)"


@app.command(
    examples=(
        "archon-agent ingest .",
        "archon-agent ingest --git-url https://github.com/owner/name",
    )
)
@with_settings("publish", "storage", "git", "log", "kafka", "breaker", "selector", "history")
@with_target
def ingest(
    loaded: Loaded,
    target: Any,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would be published, send nothing")
    ] = False,
    as_json: JsonFlag = False,
    verbose: Verbose = 0,
) -> None:
    """Publish the files of a repository that changed since its last ingestion."""
    from archon_agent.logs import configure

    configure(verbose)
    try:
        summary = run_async(lambda stop: _ingest(loaded, target, dry_run, stop))
    except MassDeletionHeld as held:
        if not sys.stdin.isatty():
            raise
        console.say(str(held))
        confirm(f"delete {held.deletions:,} files of the project?")
        allowed = replace(target, allow_deletions=held.deletions)
        summary = run_async(lambda stop: _ingest(loaded, allowed, dry_run, stop))
    if as_json:
        console.print_json({**summary.to_json(), "dry_run": dry_run})
    else:
        show(summary, dry_run=dry_run, verbose=verbose)
    raise typer.Exit(_code(summary))


async def _ingest(loaded: Loaded, target: Any, dry: bool, stop: asyncio.Event) -> IngestSummary:
    from core.assembly.ingesting import ingest
    from core.assembly.publishing import ingestion
    from core.dry_run import dry_run

    settings = loaded.settings
    from archon_agent.progress_bars import progress

    with progress("ingest") as listener:
        if dry:
            async with ingestion(settings, target, listener=listener) as job:
                await job.guard.check(job.context.repository)
                return await dry_run(job.planner.stream(), job.project_name, job.rules)
        summary, _ = await ingest(settings, target, stop, listener=listener)
        return summary


def _code(summary: IngestSummary) -> ExitCode:
    if summary.interrupted:
        return ExitCode.INTERRUPTED
    if summary.refusal or summary.unreachable:
        return ExitCode.UNREACHABLE
    return ExitCode.SOME_FAILED if summary.faults else ExitCode.OK


def show(summary: IngestSummary, *, dry_run: bool = False, verbose: int = 0) -> None:
    """The summary for people: data on stdout, what went wrong on stderr."""
    console.out.print(console.text(_headline(summary, dry_run)))
    if summary.files_published:
        largest = units.size(summary.largest_message_bytes)
        console.out.print(
            f"  {summary.batches:,} batches, the largest {largest}, in {units.duration(summary.duration_s)}"
        )
    for name, totals in summary.by_strategy.items():
        console.out.print(f"  {name:<15} {totals.files:>9,} files {units.size(totals.bytes):>10}")
    for cause, count in summary.fallbacks.items():
        console.out.print(console.text(f"  fallback {cause}: {count:,}"))
    _show_skips(summary, verbose)
    if not summary.files_discovered:
        console.say(NOTHING)
    if summary.files_stale:
        console.say(f"{summary.files_stale:,} of the skipped files keep the record of an older version")
    if summary.interrupted:
        console.say("interrupted: what was acknowledged stays, run it again for the rest")
    if summary.refusal:
        console.say(f"{summary.files_unpublished:,} files are unpublished: {display(summary.refusal)}")
    if error := summary.unreachable:
        hint = f" ({error.hint})" if error.hint else ""
        console.say(f"files were skipped: {display(redact(str(error)), limit=2000)}{display(hint)}")


def _headline(summary: IngestSummary, dry_run: bool) -> str:
    verb = "would publish" if dry_run else "published"
    amount = f"{summary.files_published:,} of {summary.files_discovered:,} files"
    parts = [f"{verb} {amount} ({units.size(summary.bytes)})"]
    if summary.files_unchanged:
        parts.append(f"{summary.files_unchanged:,} unchanged")
    if summary.files_deleted:
        parts.append(f"{summary.files_deleted:,} deleted")
    if summary.skipped:
        parts.append(f"{len(summary.skipped):,} skipped")
    return f"{display(summary.project_name)}: {', '.join(parts)}"


def _show_skips(summary: IngestSummary, verbose: int) -> None:
    by_reason: dict[str, list[Any]] = {}
    for skip in summary.skipped:
        by_reason.setdefault(skip.reason, []).append(skip)
    for skips in by_reason.values():
        reason = skips[0].reason
        glyph = "!" if reason.is_fault else "–"
        console.out.print(f"  {glyph} skipped {len(skips):,}: {reason.sentence}")
        shown = skips if verbose else skips[:3] if reason.is_fault else []
        for skip in shown:
            detail = f" ({display(skip.detail)})" if skip.detail else ""
            console.out.print(console.text(f"      {display(skip.path)}{detail}"))
