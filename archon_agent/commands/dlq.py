"""`archon-agent dlq`: look into the dead-letter topics, send letters back, remove them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Annotated, Any

import typer

from archon_agent import console
from archon_agent.confirmation import confirm
from archon_agent.help import App
from archon_agent.options import JsonFlag, Loaded, Yes, with_settings
from archon_agent.running import run_now
from core.dead_letters import DeadLetters, Purgeable, Redrive
from core.errors import UsageError
from core.events.preview import preview
from core.events.topics import dead_letter_topic
from core.letter import DeadLetter
from core.log.base import EventLog
from core.redrive_claims import CLAIM_S
from core.safety.display import display
from core.settings.option import parse_duration

app = App(help="List, show, redrive and purge dead letters.", no_args_is_help=True)

LetterId = Annotated[str, typer.Argument(help="TOPIC/PARTITION/OFFSET, as dlq list shows it")]
Reason = Annotated[
    str | None, typer.Option("--reason", help="only letters of this reason", show_default=False)
]


@app.command("list", examples=("archon-agent dlq list --reason checksum_mismatch",))
@with_settings("log", "kafka")
def list_letters(loaded: Loaded, reason: Reason = None, as_json: JsonFlag = False) -> None:
    """List the dead letters that were not redriven."""
    letters = run_now(lambda: _list(loaded, reason))
    if as_json:
        console.print_json(letters)
        return
    if not letters:
        of = f" with the reason {display(reason)}" if reason else ""
        console.say(f"no dead letters{of} in {_shown(loaded)}")
        return
    columns = ("id", "reason", "stage", "attempts", "message")
    rows = [[letter[column] for column in columns] for letter in letters]
    console.out.print(console.table([column.upper() for column in columns], rows))


@app.command()
@with_settings("log", "kafka")
def show(loaded: Loaded, letter_id: LetterId, as_json: JsonFlag = False) -> None:
    """Show one dead letter: headers, and the payload without file contents."""
    letter = run_now(lambda: _find(loaded, letter_id))
    if as_json:
        console.print_json({**document(letter), "payload": preview(letter.message.value)})
        return
    fields = {**document(letter), "headers": None}
    console.out.print(
        console.table(("FIELD", "VALUE"), [item for item in fields.items() if item[1] is not None])
    )
    console.print_json(preview(letter.message.value))


@app.command()
@with_settings("log", "kafka")
def redrive(
    loaded: Loaded,
    letter_id: Annotated[
        str | None, typer.Argument(help="TOPIC/PARTITION/OFFSET", show_default=False)
    ] = None,
    reason: Reason = None,
    everything: Annotated[bool, typer.Option("--all", help="every letter")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be sent, send nothing")] = False,
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Send letters to the topics they came from; each can be sent only once."""
    if sum((letter_id is not None, reason is not None, everything)) != 1:
        raise UsageError("name one letter, or give --reason or --all")
    letters = run_now(lambda: _choose(loaded, letter_id, reason))
    lost = [letter["id"] for letter in letters if letter["origin"] is None]
    targets = {letter["id"]: letter["topic"] for letter in letters if letter["origin"] is not None}
    if letter_id and lost:
        raise UsageError(f"{letter_id} does not say which topic it came from")
    if not dry_run and len(targets) > 1 and not yes:
        confirm(f"redrive {len(targets):,} letters?")
    done = [] if dry_run else run_now(lambda: _redrive(loaded, letter_id, targets))
    sent = list(targets) if dry_run else [each.letter.id for each in done if each.was_sent]
    closed = [each.letter.id for each in done if not each.was_sent and not each.by_another]
    claimed = [each.letter.id for each in done if each.by_another]
    superseded = sum(each.superseded for each in done)
    if as_json:
        console.print_json(
            {
                "redriven": sent,
                "superseded": closed,
                "files_superseded": superseded,
                "by_another": claimed,
                "without_origin": lost,
                "dry_run": dry_run,
            }
        )
        return
    for each in sent:
        console.out.print(console.line(f"{each} {'would go' if dry_run else 'went'} to {targets[each]}"))
    for each in closed:
        console.out.print(console.line(f"{each} is closed: newer requests name all of its files"))
    for each in claimed:
        console.out.print(console.line(f"{each} is being redriven by another command"))
    if claimed:
        console.say(f"if that command was killed, they can be redriven {CLAIM_S:g} s after it began")
    if superseded:
        console.say(f"{superseded:,} files were left out: a newer request decides them")
    if lost:
        console.say(f"{len(lost):,} letters do not say where they came from and stay")
    if not letters:
        console.say("no letter to redrive")


@app.command()
@with_settings("log", "kafka")
def purge(
    loaded: Loaded,
    everything: Annotated[bool, typer.Option("--all", help="every letter")] = False,
    redriven: Annotated[
        bool, typer.Option("--redriven", help="from the oldest on, up to the first that was not redriven")
    ] = False,
    older_than: Annotated[
        str | None, typer.Option("--older-than", help="letters older than 30d, 12h, …", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go, remove nothing")] = False,
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove letters for ever."""
    if sum((everything, redriven, older_than is not None)) != 1:
        raise UsageError("give --all, --redriven or --older-than")
    before_ms = None if older_than is None else _before(older_than)
    found = run_now(lambda: _purgeable(loaded, before_ms, redriven))
    count = sum(each.letters for each in found)
    if count and not dry_run:
        if not yes:
            names = ", ".join(dict.fromkeys(each.where.topic for each in found))
            confirm(f"remove {count:,} letters of {names} for ever?")
        run_now(lambda: _purge(loaded, found))
    if as_json:
        parts = [{"topic": topic, "partition": part, "letters": n} for (topic, part), n, _ in found]
        console.print_json({"removed": count, "partitions": parts, "dry_run": dry_run})
        return
    console.out.print(console.line(f"{count:,} letters {'would go' if dry_run else 'removed'}"))


def _before(age: str) -> int:
    """The time `age` ago, in milliseconds since the epoch. Raises `UsageError`."""
    try:
        seconds = parse_duration(age)
    except ValueError as error:
        raise UsageError(f"--older-than: {error}") from None
    assert isinstance(seconds, float)  # noqa: S101 - text in, seconds out
    return round((time.time() - seconds) * 1000)


async def _list(loaded: Loaded, reason: str | None) -> list[dict[str, Any]]:
    from core.assembly.stores import open_log

    async with open_log(loaded.settings) as log:
        letters = _dead_letters(log, loaded).list(reason=reason)
        return [document(letter) async for letter in letters]


async def _find(loaded: Loaded, letter_id: str) -> DeadLetter:
    from core.assembly.stores import open_log

    async with open_log(loaded.settings) as log:
        return await _dead_letters(log, loaded).find(letter_id)


async def _choose(loaded: Loaded, letter_id: str | None, reason: str | None) -> list[dict[str, Any]]:
    return [document(await _find(loaded, letter_id))] if letter_id else await _list(loaded, reason)


async def _redrive(loaded: Loaded, letter_id: str | None, chosen: Collection[str]) -> list[Redrive]:
    """Send the chosen letters; their payloads are read one after another."""
    from core.assembly.stores import open_log

    async with open_log(loaded.settings) as log:
        dead_letters = _dead_letters(log, loaded)

        async def letters() -> AsyncIterator[DeadLetter]:
            if letter_id:
                yield await dead_letters.find(letter_id)
                return
            async for letter in dead_letters.list():
                if letter.id in chosen:
                    yield letter

        return [redrive async for redrive in dead_letters.redrive_all(letters())]


async def _purgeable(loaded: Loaded, before_ms: int | None, only_redriven: bool) -> Sequence[Purgeable]:
    from core.assembly.stores import open_log

    async with open_log(loaded.settings) as log:
        dead_letters = _dead_letters(log, loaded)
        return await dead_letters.purgeable(before_ms=before_ms, only_redriven=only_redriven)


async def _purge(loaded: Loaded, chosen: Sequence[Purgeable]) -> None:
    from core.assembly.stores import open_log

    async with open_log(loaded.settings) as log:
        await _dead_letters(log, loaded).purge(chosen)


def _shown(loaded: Loaded) -> str:
    """The dead-letter topics, as a message names them."""
    return ", ".join(display(dead_letter_topic(topic)) for topic in loaded.settings.log.topics)


def _dead_letters(log: EventLog, loaded: Loaded) -> DeadLetters:
    return DeadLetters(log, loaded.settings.log.group, loaded.settings.log.topics)


def document(letter: DeadLetter) -> dict[str, Any]:
    """A letter without its payload."""
    info = letter.info
    return {
        "id": letter.id,
        "key": None if letter.message.key is None else letter.message.key.decode("utf-8", "replace"),
        "bytes": len(letter.message.value or b""),
        "reason": info.reason if info else None,
        "stage": info.stage if info else None,
        "exception": info.exception_class if info else None,
        "message": info.message if info else None,
        "attempts": info.attempts if info else None,
        "topic": info.topic if info else None,
        "origin": f"{info.topic}/{info.partition}/{info.offset}" if info else None,
        "headers": {name: value.decode("utf-8", "replace") for name, value in letter.message.headers},
    }
