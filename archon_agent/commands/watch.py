"""`archon-agent watch`: ingest branches on Git hosts whenever they move."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archon_agent import console
from archon_agent.exit_codes import ExitCode, code_of
from archon_agent.help import App
from archon_agent.options import Loaded, Verbose, with_settings
from archon_agent.running import run_async, run_now
from archon_agent.target import credential_ref
from core import units
from core.errors import UsageError
from core.safety.display import display
from core.safety.redact import redact

if TYPE_CHECKING:
    from core.watching.model import Round, Watched

app = App(help="Ingest branches on Git hosts whenever they move.")

SHORT = 12
_TABLE = "see --git-url, and [[watch.repositories]] in docs/operations/git.md"


@app.command(examples=("archon-agent watch --git-url https://github.com/owner/name --once",))
@with_settings("watch", "publish", "storage", "git", "log", "kafka", "breaker", "selector", "history", "http")
def watch(
    loaded: Loaded,
    git_url: Annotated[
        str | None,
        typer.Option(
            "--git-url", help="only this repository; default: those of watch.repositories in archon.toml"
        ),
    ] = None,
    branch: Annotated[
        str | None, typer.Option("--branch", help="its branch; default: the host's default branch")
    ] = None,
    project: Annotated[
        str | None,
        typer.Option("--project-name", help="default: the repository's name", show_default=False),
    ] = None,
    credentials_ref: Annotated[
        str | None,
        typer.Option(
            "--git-credentials-ref",
            help="where the secret for the Git host is: env:NAME, file:/path, aws-secretsmanager:NAME#key",
        ),
    ] = None,
    credentials_path: Annotated[
        Path | None,
        typer.Option("--git-credentials-path", help="a file (mode 0600) with a token or SSH key"),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="look at every repository once, then end; for cron")
    ] = False,
    allow_deletions: Annotated[
        str | None,
        typer.Option(
            "--allow-deletions", metavar="PROJECT", help="let its next round delete what is gone, and end"
        ),
    ] = None,
    no_http: Annotated[bool, typer.Option("--no-http", help="serve no HTTP")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print a JSON line per round")] = False,
    verbose: Verbose = 0,
) -> None:
    """Look at branches and publish what changed; SIGTERM finishes what is in flight first."""
    from archon_agent.logs import configure

    configure(verbose)
    if allow_deletions is not None:
        run_now(lambda: _allow_deletions(loaded, allow_deletions))
        console.say(f"the next round may delete what is gone of {display(allow_deletions)}")
        return
    reference = credential_ref(credentials_ref, credentials_path)
    watched = _watched(loaded, git_url, branch, project, reference)
    rounds = run_async(
        lambda stop: _watch(loaded, watched, _Teller(as_json, verbose), once, serves=not no_http, stop=stop),
        grace_s=None if once else loaded.settings.agent.grace,
    )
    raise typer.Exit(_code(rounds))


async def _allow_deletions(loaded: Loaded, project: str) -> None:
    from core.assembly.publishing import allow_deletions

    await allow_deletions(loaded.settings, project)


def _watched(
    loaded: Loaded, url: str | None, branch: str | None, project: str | None, reference: str | None
) -> list[Watched]:
    """What to watch. Raises UsageError where nothing is named, or flags have no repository to go with."""
    from core.assembly.watching import watched_repositories, watched_repository
    from core.settings.watch import WatchedRepository

    if url is not None:
        entry = WatchedRepository(git_url=url, branch=branch, project_name=project, credentials_ref=reference)
        return [watched_repository(loaded.settings, entry)]
    if branch or project or reference:
        raise UsageError("--branch, --project-name and credentials go with --git-url", hint=_TABLE)
    watched = watched_repositories(loaded.settings)
    if not watched:
        raise UsageError("there is no repository to watch", hint=_TABLE)
    return watched


async def _watch(
    loaded: Loaded,
    watched: Sequence[Watched],
    teller: _Teller,
    once: bool,
    *,
    serves: bool,
    stop: asyncio.Event,
) -> list[Round]:
    from archon_agent.http.server import serving
    from archon_agent.http.watch import watch_handlers
    from core.assembly.watching import watching

    opened = watching(loaded.settings, watched, begin=teller.begin, tell=teller.tell, service=not once)
    async with opened as service:
        if once:
            return await service.watcher.once(stop)
        http = loaded.settings.http
        http = http if serves else http.model_copy(update={"address": ""})
        handlers = watch_handlers(service)
        async with serving(handlers, http) as url:
            at = f", serving {url}" if url else ""
            what = "1 repository" if len(watched) == 1 else f"{len(watched):,} repositories"
            console.say(f"watching {what}{at}")
            await service.run(stop)
    return []


def _code(rounds: Sequence[Round]) -> ExitCode:
    """The code of `--once`: what all failures have in common, else that some failed."""
    from core.watching.model import Outcome

    if any(done.outcome is Outcome.INTERRUPTED for done in rounds):
        return ExitCode.INTERRUPTED
    codes = {_code_of(done) for done in rounds}
    return codes.pop() if len(codes) == 1 else ExitCode.SOME_FAILED if codes else ExitCode.OK


def _code_of(done: Round) -> ExitCode:
    if done.error:
        return code_of(done.error)
    return ExitCode.SOME_FAILED if done.summary and done.summary.faults else ExitCode.OK


class _Teller:
    """Tells of rounds: JSON lines on stdout, or sentences on stderr."""

    def __init__(self, as_json: bool, verbose: int) -> None:
        self._as_json = as_json
        self._verbose = verbose

    def begin(self, begun: Round) -> None:
        """An ingestion starts."""
        since = f"since {begun.previous[:SHORT]}" if begun.previous else "all of it"
        console.say(f"{_name(begun)}: ingesting {(begun.commit or '')[:SHORT]}, {since}")

    def tell(self, done: Round) -> None:
        """A round is over."""
        if self._as_json:
            sys.stdout.write(json.dumps(done.to_json()) + "\n")
            sys.stdout.flush()
        if self._verbose or done.outcome != "unchanged":
            console.say(f"{_name(done)}: {_sentence(done)}")


def _name(done: Round) -> str:
    branch = f" {done.watched.branch}" if done.watched.branch else ""
    return display(f"{done.watched.project}{branch}")


def _sentence(done: Round) -> str:
    commit = (done.commit or "")[:SHORT]
    note = f" ({display(done.note)})" if done.note else ""
    again = f"; again in {units.duration(done.next_s)}" if done.next_s is not None and done.error else ""
    if error := done.error:
        hint = f" ({display(error.hint)})" if error.hint else ""
        return f"failed: {display(redact(str(error)), limit=2000)}{hint}{again}"
    if summary := done.summary:
        parts = [f"{summary.files_published:,} published", f"{summary.files_unchanged:,} unchanged"]
        if summary.files_deleted:
            parts.append(f"{summary.files_deleted:,} deleted")
        if faults := len(summary.faults):
            parts.append(f"{faults:,} skipped for a fault")
        took = units.duration(done.duration_s)
        return f"{done.outcome} {commit} in {took}: {', '.join(parts)}{note}"
    return f"{done.outcome} {commit}{note}"
