"""`archon-agent storage`: set up, check and clean the object storage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archon_agent import console
from archon_agent.confirmation import confirm
from archon_agent.exit_codes import ExitCode
from archon_agent.help import App
from archon_agent.options import JsonFlag, Loaded, Yes, with_settings
from archon_agent.running import run_now
from core import units
from core.errors import ConfigurationError

if TYPE_CHECKING:
    from core.storage.base import ContentStorageClient
    from core.storage.bucket import Finding
    from core.storage.garbage import GarbageReport

app = App(help="Set up, check and clean the object storage.", no_args_is_help=True)

DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be done, change nothing")]
_GLYPHS = {"ok": "✓", "wrong": "!", "not offered": "–"}


@app.callback()
def storage() -> None:
    """Set up, check and clean the object storage."""


@app.command()
@with_settings("storage")
def setup(loaded: Loaded, dry_run: DryRun = False, yes: Yes = False, as_json: JsonFlag = False) -> None:
    """Create the bucket without public access, encrypted by default, objects expiring by age."""
    where = run_now(lambda: _with_storage(loaded, _where))
    if not dry_run and not yes:
        confirm(f"set up {where}?")
    work = _verified if dry_run else _set_up
    _report(where, run_now(lambda: _with_storage(loaded, work, loaded)), as_json)


@app.command()
@with_settings("storage")
def check(loaded: Loaded, as_json: JsonFlag = False) -> None:
    """Whether the bucket can be used, and is as `storage setup` makes it; exit code 1 where it is not."""
    where = run_now(lambda: _with_storage(loaded, _where))
    _report(where, run_now(lambda: _with_storage(loaded, _verified, loaded)), as_json)


@app.command()
@with_settings("storage", "log", "kafka")
def gc(loaded: Loaded, dry_run: DryRun = False, yes: Yes = False, as_json: JsonFlag = False) -> None:
    """Remove objects that no event within the retention needs, and what crashed uploads left."""
    found = run_now(lambda: _with_storage(loaded, _collect, loaded, False))
    if not dry_run:
        if found.garbage and not yes:
            amount = f"{found.garbage:,} objects ({units.size(found.bytes)})"
            confirm(f"remove {amount} for ever?")
        found = run_now(lambda: _with_storage(loaded, _collect, loaded, True))
    if as_json:
        console.print_json({**asdict(found), "dry_run": dry_run})
        return
    kept = f"{found.referenced:,} needed, {found.young:,} too young to tell, {found.foreign:,} not ours"
    console.out.print(f"{found.objects:,} objects: {kept}")
    verb = "would remove" if dry_run else "removed"
    console.out.print(f"{verb} {found.garbage:,} objects, {units.size(found.bytes)}")
    if dry_run:
        for key in found.sample:
            console.out.print(console.line(f"  {key}"))
    elif found.unfinished:
        console.out.print(f"abandoned {found.unfinished:,} unfinished uploads")


async def _with_storage(loaded: Loaded, work: Callable[..., Awaitable[Any]], *more: Any) -> Any:
    """`work(client, *more)` on the configured storage. Raises `ConfigurationError` where there is none."""
    from core.assembly.stores import open_storage

    client = open_storage(loaded.settings)
    if client is None:
        raise ConfigurationError("no object storage is configured", hint="see --storage-provider")
    try:
        return await work(client, *more)
    finally:
        await client.close()


async def _where(client: ContentStorageClient) -> str:
    return f"{client.location.provider} bucket {client.location.bucket}"


async def _verified(client: ContentStorageClient, loaded: Loaded) -> Sequence[Finding]:
    return await _administer(client, loaded, setting_up=False)


async def _set_up(client: ContentStorageClient, loaded: Loaded) -> Sequence[Finding]:
    return await _administer(client, loaded, setting_up=True)


async def _administer(client: ContentStorageClient, loaded: Loaded, *, setting_up: bool) -> Sequence[Finding]:
    if client.location.provider == "local":
        await client.check()
        return []
    from core.storage.bucket import BucketAdmin
    from core.storage.s3 import S3StorageClient

    assert isinstance(client, S3StorageClient)  # noqa: S101 - every other provider speaks S3
    admin = BucketAdmin(client, loaded.settings.storage.retention)
    return await (admin.setup() if setting_up else admin.verify())


async def _collect(client: ContentStorageClient, loaded: Loaded, remove: bool) -> GarbageReport:
    from core.assembly.stores import open_log
    from core.retention import collect_garbage
    from core.storage.garbage import GarbageRules

    settings = loaded.settings
    rules = GarbageRules(
        datetime.now(UTC),
        timedelta(seconds=settings.storage.retention),
        timedelta(seconds=settings.storage.orphan_grace),
    )
    async with open_log(settings) as log:
        return await collect_garbage(log, settings.log.topics, client, rules, remove=remove)


def _report(where: str, findings: Sequence[Finding], as_json: bool) -> None:
    wrong = [finding for finding in findings if finding.state == "wrong"]
    if as_json:
        console.print_json(
            {"bucket": where, "usable": True, "findings": [each._asdict() for each in findings]}
        )
    else:
        console.out.print(console.line(f"✓ {where}: can be used"))
        for finding in findings:
            text = f"{_GLYPHS[finding.state]} {finding.name}: {finding.state}, {finding.detail}"
            console.out.print(console.line(text))
        if wrong:
            console.say("archon-agent storage setup makes it so")
    raise typer.Exit(ExitCode.SOME_FAILED if wrong else ExitCode.OK)
