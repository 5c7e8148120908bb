"""`archon-agent cache`: look at, fill, verify and empty the caches of fetched contents and of Git clones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from archon_agent import console
from archon_agent.commands.cache_warm import warm
from archon_agent.confirmation import confirm
from archon_agent.exit_codes import ExitCode
from archon_agent.help import App
from archon_agent.options import JsonFlag, Loaded, Yes, with_settings
from core import units
from core.errors import UsageError

if TYPE_CHECKING:
    from core.cache.base import Cache, Listed, Tell

HELP = "Look at, fill, verify and empty the caches of fetched contents and of Git clones."
app = App(help=HELP, no_args_is_help=True)

Answer = TypeVar("Answer")
Type = Annotated[str | None, typer.Option("--type", help="only this cache: object, git", show_default=False)]
LISTED = 10


@app.callback(help=HELP)
def cache() -> None:
    """What `HELP` says."""


@app.command()
@with_settings("cache", "git")
def stats(
    loaded: Loaded,
    kind: Type = None,
    entries: Annotated[
        int, typer.Option("--entries", help="list so many entries of each cache", min=0)
    ] = LISTED,
    by: Annotated[
        Literal["size", "age"], typer.Option("--by", help="list the largest, or the least recently used")
    ] = "size",
    as_json: JsonFlag = False,
) -> None:
    """Sizes, hits, misses by cause, evictions and corruptions since the directory was made; what is kept."""
    found = _each(
        loaded, kind, lambda _name, opened: (opened.stats(), opened.entries(entries, by)), scan=False
    )
    if as_json:
        console.print_json(
            {
                name: {**figures.to_json(), "listed": [entry.to_json() for entry in listed]}
                for name, (figures, listed) in found.items()
            }
        )
        return
    rows = [
        (
            name,
            f"{figures.entries:,}",
            f"{units.size(figures.bytes)} of {units.size(figures.max_bytes)}",
            None if figures.hit_rate is None else f"{figures.hit_rate:.1%}",
            f"{figures.hits:,}",
            ", ".join(f"{cause} {count:,}" for cause, count in figures.misses.items()) or "0",
            f"{figures.evictions:,}",
            f"{figures.corruptions:,}",
            figures.directory,
        )
        for name, (figures, _) in found.items()
    ]
    columns = (
        "TYPE", "ENTRIES", "SIZE", "HIT RATE", "HITS", "MISSES", "EVICTED", "CORRUPT", "DIRECTORY",
    )  # fmt: skip
    console.out.print(
        console.table(columns, rows, right=frozenset({"ENTRIES", "HIT RATE", "HITS", "EVICTED", "CORRUPT"}))
    )
    _show_entries({name: listed for name, (_, listed) in found.items() if listed})


def _show_entries(listed: dict[str, list[Listed]]) -> None:
    rows = [
        (name, units.size(entry.bytes), _when(entry.used_ns), entry.scope or None, entry.name)
        for name, entries in listed.items()
        for entry in entries
    ]
    if rows:
        console.out.print()
        columns = ("TYPE", "SIZE", "LAST USED (UTC)", "CREDENTIAL", "ENTRY")
        console.out.print(console.table(columns, rows, right=frozenset({"SIZE"})))


def _when(used_ns: int) -> str:
    return f"{datetime.fromtimestamp(used_ns / 1e9, UTC):%Y-%m-%d %H:%M}"


@app.command()
@with_settings("cache", "git")
def verify(loaded: Loaded, kind: Type = None, as_json: JsonFlag = False) -> None:
    """Read every byte of every entry and drop what is corrupt; exit code 1 if anything was."""
    with _telling() as tell:
        found = _each(loaded, kind, lambda name, opened: opened.verify(tell(name)))
    if as_json:
        console.print_json({name: asdict(checkup) for name, checkup in found.items()})
    else:
        for name, checkup in found.items():
            amount = f"{checkup.entries:,} entries, {units.size(checkup.bytes)}"
            console.out.print(f"{name}: {amount}, {checkup.corrupt:,} corrupt and dropped")
    raise typer.Exit(ExitCode.SOME_FAILED if any(each.corrupt for each in found.values()) else ExitCode.OK)


@app.command()
@with_settings("cache", "git")
def clear(
    loaded: Loaded,
    kind: Type = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go, remove nothing")] = False,
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove every entry that nobody is using; all of it can be fetched again."""
    held = _each(loaded, kind, lambda _name, opened: (opened.stats().entries, opened.stats().bytes))
    if any(entries for entries, _ in held.values()) and not dry_run and not yes:
        amounts = (
            f"{entries:,} entries of the {name} cache ({units.size(size)})"
            for name, (entries, size) in held.items()
        )
        confirm(f"remove {' and '.join(amounts)}?")
    removed = held if dry_run else _each(loaded, kind, lambda _name, opened: opened.clear())
    if as_json:
        amounts_by_name = {name: {"entries": count, "bytes": size} for name, (count, size) in removed.items()}
        console.print_json({"removed": amounts_by_name, "dry_run": dry_run})
        return
    for name, (count, size) in removed.items():
        verb = "would remove" if dry_run else "removed"
        console.out.print(f"{name}: {verb} {count:,} entries, {units.size(size)}")


app.command()(warm)


def _each(
    loaded: Loaded, kind: str | None, work: Callable[[str, Cache], Answer], *, scan: bool = True
) -> dict[str, Answer]:
    """The answers of the caches that are turned on, by type.

    Raises `UsageError` for a type there is not, or that is turned off.
    """
    from core.assembly.stores import CACHE_KINDS, open_caches

    if kind is not None and kind not in CACHE_KINDS:
        raise UsageError(f"there is no {kind} cache", hint=f"there are: {', '.join(CACHE_KINDS)}")
    caches = open_caches(loaded.settings, CACHE_KINDS if kind is None else (kind,), scan=scan)
    if not caches:
        raise UsageError(f"the {kind} cache is turned off", hint="see --cache-max-size-gb")
    try:
        return {name: work(name, opened) for name, opened in caches.items()}
    finally:
        for opened in caches.values():
            opened.close()


@contextmanager
def _telling() -> Iterator[Callable[[str], Tell]]:
    """Tells how far reading a cache is, on a terminal."""
    from archon_agent.progress_bars import bar

    with bar() as show:
        yield lambda name: lambda done, total: show(name, done, total)
