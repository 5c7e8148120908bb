"""`archon-agent results`: the records of the local index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from archon_agent import console
from archon_agent.help import App
from archon_agent.options import JsonFlag, Loaded, ProjectFlag, with_settings
from archon_agent.running import run_now

if TYPE_CHECKING:
    from core.results.records import IndexedFile

app = App(help="Show the records of the local index.")
COLUMNS = ("PROJECT", "PATH", "LANG", "CODE", "SYMBOLS", "MAX CC", "QUALITY")


@app.command(
    examples=(
        "archon-agent results --project NAME --sort complexity",
        "archon-agent results --json",
    )
)
@with_settings()
def results(
    loaded: Loaded,
    project: ProjectFlag = None,
    language: Annotated[str | None, typer.Option(help="only this language", show_default=False)] = None,
    sort: Annotated[str, typer.Option(help="path, complexity, quality or size")] = "path",
    limit: Annotated[
        int | None, typer.Option(min=1, help="at most so many records", show_default=False)
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the records of the local index."""
    documents, files = run_now(lambda: _load(loaded, as_json, project, language, sort, limit))
    if as_json:
        console.print_json(documents)
        return
    if not files:
        console.say("no records yet: archon-agent ingest PATH, then archon-agent run --drain")
        return
    console.out.print(console.table(COLUMNS, map(_row, files), right=frozenset(COLUMNS[3:])))


async def _load(
    loaded: Loaded, whole: bool, project: str | None, language: str | None, sort: str, limit: int | None
) -> tuple[list[dict[str, Any]], list[IndexedFile]]:
    """The whole records as documents, or the files' figures only."""
    from core.assembly.stores import open_index

    async with open_index(loaded.settings) as index:
        if whole:
            records = index.records(project=project, language=language, sort=sort, limit=limit)
            return [record.to_json() async for record in records], []
        files = index.query(project=project, language=language, sort=sort, limit=limit)
        return [], [file async for file in files]


def _row(file: IndexedFile) -> tuple[object, ...]:
    return (
        file.project,
        file.path,
        file.language,
        file.code_lines,
        file.symbols,
        file.max_complexity,
        None if file.quality is None else f"{file.quality:.2f}",
    )
