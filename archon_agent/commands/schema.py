"""`archon-agent schema`: the wire contract as documents."""

from __future__ import annotations

from typing import Annotated

import typer

from archon_agent import console
from archon_agent.help import App
from core.errors import UsageError

app = App(help="Print JSON Schema or AsyncAPI documents of the events.")


@app.command()
def schema(
    name: Annotated[
        str | None, typer.Argument(help="a document's name; without it they are listed", show_default=False)
    ] = None,
) -> None:
    """Print the JSON Schema of an event, or the AsyncAPI document of them all."""
    from core.events.schema import documents

    known = documents()
    if name is None:
        for each in known:
            console.out.print(each)
        return
    if name not in known:
        raise UsageError(f"there is no document {name}", hint=f"one of: {', '.join(known)}")
    console.print_json(known[name])
