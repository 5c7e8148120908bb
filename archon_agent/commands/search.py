"""`archon-agent search`: find words in paths and symbols."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from archon_agent import console
from archon_agent.help import App
from archon_agent.options import JsonFlag, Loaded, ProjectFlag, with_settings
from archon_agent.running import run_now

app = App(help="Find words in paths and symbol names.")


@app.command(examples=("archon-agent search parse header",))
@with_settings()
def search(
    loaded: Loaded,
    words: Annotated[list[str], typer.Argument(help="all must occur in a path or its symbols")],
    project: ProjectFlag = None,
    limit: Annotated[int, typer.Option(min=1, help="at most so many files")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """Find words in paths and symbol names; parts of camelCase and snake_case names count as words."""
    hits = run_now(lambda: _search(loaded, " ".join(words), project, limit))
    if as_json:
        console.print_json(hits)
        return
    if not hits:
        console.say("nothing found")
        return
    rows = [(hit["project"], hit["path"], hit["language"], ", ".join(hit["symbols"])) for hit in hits]
    console.out.print(console.table(("PROJECT", "PATH", "LANG", "SYMBOLS"), rows))


async def _search(loaded: Loaded, words: str, project: str | None, limit: int) -> list[dict[str, Any]]:
    from core.assembly.stores import open_index

    async with open_index(loaded.settings) as index:
        return [hit.to_json() for hit in await index.search(words, project=project, limit=limit)]
