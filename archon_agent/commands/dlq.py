"""`archon-agent dlq`: look into the dead-letter topics, and send letters back."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from archon_agent import console
from archon_agent.options import JsonFlag, Loaded, Yes, with_settings
from archon_agent.running import run_async
from core.dead_letters import DeadLetter, DeadLetters
from core.errors import UsageError
from core.safety.display import display

app = typer.Typer(add_completion=False, help="List, show and redrive dead letters.", no_args_is_help=True)

LetterId = Annotated[str, typer.Argument(help="TOPIC/PARTITION/OFFSET, as dlq list shows it")]
Reason = Annotated[
    str | None, typer.Option("--reason", help="only letters of this reason", show_default=False)
]


@app.command("list")
@with_settings("log", "kafka")
def list_letters(loaded: Loaded, reason: Reason = None, as_json: JsonFlag = False) -> None:
    """List the dead letters that were not redriven."""
    letters = run_async(lambda _stop: _list(loaded, reason))
    if as_json:
        console.print_json([document(letter) for letter in letters])
        return
    if not letters:
        console.say("the dead-letter topics are empty")
        return
    rows = [
        (letter.id, info.reason, info.stage, info.attempts, info.message)
        if (info := letter.info)
        else (letter.id,)
        for letter in letters
    ]
    padded = [(*row, *(None,) * (5 - len(row))) for row in rows]
    console.out.print(console.table(("ID", "REASON", "STAGE", "ATTEMPTS", "MESSAGE"), padded))


@app.command()
@with_settings("log", "kafka")
def show(loaded: Loaded, letter_id: LetterId, as_json: JsonFlag = False) -> None:
    """Show one dead letter: headers, and the payload without file contents."""
    letter = run_async(lambda _stop: _find(loaded, letter_id))
    if as_json:
        console.print_json({**document(letter), "payload": payload(letter)})
        return
    fields = {**document(letter), "headers": None}
    console.out.print(
        console.table(("FIELD", "VALUE"), [item for item in fields.items() if item[1] is not None])
    )
    console.print_json(payload(letter))


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
    letters = run_async(lambda _stop: _choose(loaded, letter_id, reason))
    if not dry_run and len(letters) > 1 and not yes:
        typer.confirm(f"redrive {len(letters):,} letters?", abort=True, err=True)
    if not dry_run:
        run_async(lambda _stop: _redrive(loaded, letters))
    if as_json:
        console.print_json({"redriven": [letter.id for letter in letters], "dry_run": dry_run})
        return
    for letter in letters:
        target = letter.info.topic if letter.info else "–"
        console.out.print(Text(f"{letter.id} {'would go' if dry_run else 'went'} to {display(target)}"))
    if not letters:
        console.say("no letter to redrive")


async def _list(loaded: Loaded, reason: str | None) -> list[DeadLetter]:
    from core.assembly import open_log

    async with open_log(loaded.settings) as log:
        return [letter async for letter in DeadLetters(log, loaded.settings.log.group).list(reason=reason)]


async def _find(loaded: Loaded, letter_id: str) -> DeadLetter:
    from core.assembly import open_log

    async with open_log(loaded.settings) as log:
        return await DeadLetters(log, loaded.settings.log.group).find(letter_id)


async def _choose(loaded: Loaded, letter_id: str | None, reason: str | None) -> list[DeadLetter]:
    return [await _find(loaded, letter_id)] if letter_id else await _list(loaded, reason)


async def _redrive(loaded: Loaded, letters: list[DeadLetter]) -> None:
    from core.assembly import open_log

    async with open_log(loaded.settings) as log:
        dead_letters = DeadLetters(log, loaded.settings.log.group)
        for letter in letters:
            await dead_letters.redrive(letter)


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
        "origin": f"{info.topic}/{info.partition}/{info.offset}" if info else None,
        "headers": {name: value.decode("utf-8", "replace") for name, value in letter.message.headers},
    }


def payload(letter: DeadLetter) -> Any:
    """The decoded payload with contents and signed links elided; bytes that are no JSON are displayed."""
    from core.errors import InvalidEvent
    from core.events.codec import from_json
    from core.safety.display import display
    from core.safety.redact import redact

    value = letter.message.value or b""
    try:
        data = from_json(value)
    except InvalidEvent:
        return display(redact(value.decode("utf-8", "surrogateescape")), limit=2000)
    return _elide(data)


def _elide(data: Any) -> Any:
    if isinstance(data, dict):
        return {
            key: f"<{len(value):,} characters>"
            if key in ("content", "content_url") and isinstance(value, str)
            else _elide(value)
            for key, value in data.items()
        }
    return [_elide(item) for item in data] if isinstance(data, list) else data
