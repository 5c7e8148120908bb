"""`archon-agent results`: the records of the local index."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from archon_agent import console
from archon_agent.options import JsonFlag, Loaded, ProjectFlag, with_settings
from archon_agent.running import run_async

app = typer.Typer(add_completion=False, help="Show the records of the local index.")
COLUMNS = ("PROJECT", "PATH", "LANG", "CODE", "SYMBOLS", "MAX CC", "QUALITY")


@app.command()
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
    records = run_async(lambda _stop: _load(loaded, project, language, sort, limit))
    if as_json:
        console.print_json([document(record) for record in records])
        return
    if not records:
        console.say("no records yet: archon-agent ingest PATH, then archon-agent run --drain")
        return
    console.out.print(console.table(COLUMNS, map(_row, records), right=frozenset(COLUMNS[3:])))


async def _load(
    loaded: Loaded, project: str | None, language: str | None, sort: str, limit: int | None
) -> list[Any]:
    from core.assembly import open_index

    async with open_index(loaded.settings) as index:
        return [
            item async for item in index.query(project=project, language=language, sort=sort, limit=limit)
        ]


def document(record: Any) -> dict[str, Any]:
    """The published shape of one record: identity and the analysis side by side."""
    data: dict[str, Any] = record.model_dump(mode="json")
    return {**{key: value for key, value in data.items() if key != "analysis"}, **data["analysis"]}


def _row(record: Any) -> tuple[object, ...]:
    analysis = record.analysis
    quality = analysis.scores.quality.value
    return (
        record.project,
        record.path,
        analysis.language,
        analysis.lines.code if analysis.lines else None,
        len(analysis.symbols),
        analysis.max_complexity,
        None if quality is None else f"{quality:.2f}",
    )
