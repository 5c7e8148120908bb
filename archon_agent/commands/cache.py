"""`archon-agent cache`: look at, verify and empty the caches of fetched contents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import typer

from archon_agent import console
from archon_agent.exit_codes import ExitCode
from archon_agent.options import JsonFlag, Loaded, Yes, with_settings
from core import units
from core.errors import UsageError

app = typer.Typer(help="Look at, verify and empty the caches of fetched contents.", no_args_is_help=True)

Answer = TypeVar("Answer")
Type = Annotated[str | None, typer.Option("--type", help="only this cache: object, git", show_default=False)]


@app.callback()
def cache() -> None:
    """Look at, verify and empty the caches of fetched contents."""


@app.command()
@with_settings("cache")
def stats(loaded: Loaded, kind: Type = None, as_json: JsonFlag = False) -> None:
    """Sizes, hits, misses by cause, evictions and corruptions since the directory was made."""
    figures = _each(loaded, kind, lambda opened: opened.stats())
    if as_json:
        console.print_json({name: found.to_json() for name, found in figures.items()})
        return
    rows = [
        (
            name,
            f"{found.entries:,}",
            f"{units.size(found.bytes)} of {units.size(found.max_bytes)}",
            None if found.hit_rate is None else f"{found.hit_rate:.1%}",
            f"{found.hits:,}",
            ", ".join(f"{cause} {count:,}" for cause, count in found.misses.items()) or "0",
            f"{found.evictions:,}",
            f"{found.corruptions:,}",
            found.directory,
        )
        for name, found in figures.items()
    ]
    columns = (
        "TYPE", "ENTRIES", "SIZE", "HIT RATE", "HITS", "MISSES", "EVICTED", "CORRUPT", "DIRECTORY",
    )  # fmt: skip
    console.out.print(
        console.table(columns, rows, right=frozenset({"ENTRIES", "HIT RATE", "HITS", "EVICTED", "CORRUPT"}))
    )
    _say_if_none(figures)


@app.command()
@with_settings("cache")
def verify(loaded: Loaded, kind: Type = None, as_json: JsonFlag = False) -> None:
    """Read every entry and evict what is corrupt; exit code 1 if anything was."""
    found = _each(loaded, kind, lambda opened: opened.verify())
    if as_json:
        console.print_json({name: asdict(checkup) for name, checkup in found.items()})
    else:
        for name, checkup in found.items():
            amount = f"{checkup.entries:,} entries, {units.size(checkup.bytes)}"
            console.out.print(f"{name}: {amount}, {checkup.corrupt:,} corrupt and evicted")
        _say_if_none(found)
    raise typer.Exit(ExitCode.SOME_FAILED if any(each.corrupt for each in found.values()) else ExitCode.OK)


@app.command()
@with_settings("cache")
def clear(
    loaded: Loaded,
    kind: Type = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go, remove nothing")] = False,
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove every entry that nobody is reading; all of it can be fetched again."""
    held = _each(loaded, kind, lambda opened: (opened.stats().entries, opened.stats().bytes))
    total = sum(entries for entries, _ in held.values())
    if total and not dry_run and not yes:
        typer.confirm(f"remove {total:,} cached entries?", abort=True, err=True)
    removed = held if dry_run else _each(loaded, kind, lambda opened: opened.clear())
    if as_json:
        amounts = {name: {"entries": count, "bytes": size} for name, (count, size) in removed.items()}
        console.print_json({"removed": amounts, "dry_run": dry_run})
        return
    for name, (count, size) in removed.items():
        verb = "would remove" if dry_run else "removed"
        console.out.print(f"{name}: {verb} {count:,} entries, {units.size(size)}")
    _say_if_none(removed)


def _each(loaded: Loaded, kind: str | None, work: Callable[[Any], Answer]) -> dict[str, Answer]:
    """The answers of the caches that are turned on, by type. Raises `UsageError` for a type there is not."""
    from core.assembly.stores import open_caches

    caches = open_caches(loaded.settings)
    try:
        if kind is not None and kind not in caches:
            known = ", ".join(caches) or "none is turned on"
            raise UsageError(f"there is no {kind} cache", hint=f"there are: {known}")
        return {name: work(opened) for name, opened in caches.items() if kind in {None, name}}
    finally:
        for opened in caches.values():
            opened.close()


def _say_if_none(answers: dict[str, Any]) -> None:
    if not answers:
        console.say("no cache is turned on: see --cache-max-size-gb")
