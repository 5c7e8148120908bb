"""`archon-agent cache warm`: fetch ahead of need what repositories hold, or what waiting events name."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archon_agent import console
from archon_agent.exit_codes import ExitCode, code_of
from archon_agent.options import JsonFlag, Loaded, Verbose, with_settings
from archon_agent.running import run_async
from archon_agent.target import CredentialsPath, CredentialsRef, credential_ref
from core import units
from core.cache.base import WAITING_EVENTS
from core.errors import UsageError
from core.safety.display import display
from core.safety.redact import redact

if TYPE_CHECKING:
    from core.git.source import RepositoryToWarm, WarmedRepository
    from core.settings import Settings
    from core.warming import WarmedEvents


@with_settings("cache", "git", "storage", "log", "kafka", "agent", "breaker")
def warm(
    loaded: Loaded,
    git_url: Annotated[
        list[str] | None,
        typer.Option("--git-url", help="fetch this repository; may be given several times"),
    ] = None,
    git_ref: Annotated[
        str | None, typer.Option("--git-ref", help="branch, tag or commit there; default: its default branch")
    ] = None,
    git_credentials_ref: CredentialsRef = None,
    git_credentials_path: CredentialsPath = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="fetch what this file lists, a line each: URL [REF [CREDENTIAL_REF]]; - is stdin"
        ),
    ] = None,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="fetch what the events name that the group has not done yet")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", help="most events of --waiting", min=1)] = WAITING_EVENTS,
    as_json: JsonFlag = False,
    verbose: Verbose = 0,
) -> None:
    """Fetch ahead of need; exit code 1 if anything could not be had."""
    from archon_agent.logs import configure
    from core.assembly.warming import repository_on, repository_to_warm

    configure(verbose)
    settings = loaded.settings
    reference = credential_ref(git_credentials_ref, git_credentials_path)
    if (git_ref or reference) and not git_url:
        raise UsageError("--git-ref and credentials go with --git-url")
    wanted = [repository_to_warm(settings, url, git_ref, reference) for url in git_url or ()]
    wanted += [repository_on(settings, line) for line in _lines(source)] if source else []
    if not wanted and not waiting:
        raise UsageError("there is nothing to fetch", hint="give --git-url URL, --from FILE or --waiting")
    repositories, events = run_async(lambda stop: _warm(settings, wanted, limit if waiting else 0, stop))
    if as_json:
        console.print_json(
            {
                "repositories": [each.to_json() for each in repositories],
                "waiting": events.to_json() if events else None,
            }
        )
    else:
        _show(repositories, events)
    raise typer.Exit(_code(repositories, events))


def _lines(source: Path) -> list[str]:
    """The lines that name a repository. Raises UsageError."""
    try:
        text = sys.stdin.read() if str(source) == "-" else source.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{source} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]


async def _warm(
    settings: Settings, wanted: Sequence[RepositoryToWarm], waiting: int, stop: asyncio.Event
) -> tuple[list[WarmedRepository], WarmedEvents | None]:
    work = asyncio.ensure_future(_fetch(settings, wanted, waiting))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not work.done():
        work.cancel()
    return await work


async def _fetch(
    settings: Settings, wanted: Sequence[RepositoryToWarm], waiting: int
) -> tuple[list[WarmedRepository], WarmedEvents | None]:
    from archon_agent.progress_bars import bar
    from core.assembly.stores import open_log
    from core.assembly.warming import warming

    with bar() as show:

        def tell(repository: RepositoryToWarm, here: int, files: int, received: int) -> None:
            show(display(repository.url, 60), here, files, units.size(received))

        def told(events: WarmedEvents) -> None:
            amount = f"{events.files:,} files {units.size(events.bytes)}"
            show("waiting events", events.events, None, amount)

        async with warming(settings, wanted) as warmer:
            repositories = await warmer.repositories(wanted, tell) if wanted else []
            if not waiting:
                return repositories, None
            async with open_log(settings) as log:
                group, topics = settings.log.group, settings.log.topics
                return repositories, await warmer.waiting(log, group, topics, limit=waiting, tell=told)


def _show(repositories: Sequence[WarmedRepository], events: WarmedEvents | None) -> None:
    if repositories:
        columns = ("REPOSITORY", "REF", "COMMIT", "FILES", "FETCHED", "MISSING", "RECEIVED", "TIME")
        rows = [_row(each) for each in repositories]
        right = frozenset({"FILES", "FETCHED", "MISSING", "RECEIVED", "TIME"})
        console.out.print(console.table(columns, rows, right=right))
    for each in repositories:
        if error := each.error:
            hint = f" ({error.hint})" if error.hint else ""
            console.err.print(console.line(f"{each.url}: {redact(str(error))}{hint}"))
    if events:
        console.out.print(events.sentence())
        for reason, count in events.failed.most_common():
            console.say(f"{reason}: {count:,} files")
        if events.unreadable:
            console.say(f"{events.unreadable:,} messages are no request: they will be dead-lettered")


def _row(each: WarmedRepository) -> tuple[str | None, ...]:
    known = each.files or each.error is None
    counts = (f"{count:,}" if known else None for count in (each.files, each.fetched, each.missing))
    commit = each.commit and each.commit[:12]
    return each.url, each.ref, commit, *counts, units.size(each.bytes), units.duration(each.seconds)


def _code(repositories: Sequence[WarmedRepository], events: WarmedEvents | None) -> ExitCode:
    """The code of the one error there is, where nothing at all worked; else whether anything failed."""
    errors: list[Any] = [each.error for each in repositories if each.error]
    if errors and len(errors) == len(repositories) and not events:
        codes = {code_of(error) for error in errors}
        return codes.pop() if len(codes) == 1 else ExitCode.SOME_FAILED
    return ExitCode.SOME_FAILED if errors or (events and events.failed) else ExitCode.OK
