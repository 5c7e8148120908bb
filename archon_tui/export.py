"""Writing what a screen shows to a file: JSON, CSV or a picture."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from core.errors import UsageError
from core.safety.display import display

T = TypeVar("T")
FORMATS = ("json", "csv", "svg")
# A spreadsheet takes a cell that begins like this for a formula (OWASP, CSV injection).
_FORMULA = re.compile(r"^[=+\-@\t\r]")


@dataclass(frozen=True, slots=True)
class Export:
    """A screen's content. `document` makes what JSON holds; `rows` is the table that CSV holds."""

    name: str
    document: Callable[[], Any]
    rows: Callable[[], Sequence[Mapping[str, Any]]]


def table(name: str, rows: Sequence[T], document: Callable[[T], Mapping[str, Any]]) -> Export | None:
    """An export of a document per row, made when it is written; None where there are no rows."""

    def made() -> Sequence[Mapping[str, Any]]:
        return [document(row) for row in rows]

    return Export(name, made, made) if rows else None


def write(export: Export, file: Path, picture: str) -> Path:
    """Write by the file's suffix; the path. Raises `UsageError`: nothing is ever overwritten."""
    file = file.expanduser()
    kind = file.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise UsageError(f"a file ends with {', '.join('.' + known for known in FORMATS)}")
    text = content(export, kind, picture)
    try:
        with file.open("x", encoding="utf-8", newline="") as out:
            out.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {display(str(file))}: {error.strerror}") from None
    return file


def content(export: Export, kind: str, picture: str) -> str:
    """What a file of this kind holds."""
    if kind == "svg":
        return picture
    return as_csv(export.rows()) if kind == "csv" else as_json(export.document())


def as_json(document: Any) -> str:
    """JSON; what is no JSON type is written as its text."""
    return json.dumps(document, indent=2, default=str) + "\n"


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV with a header of every key in order of appearance; no cell can be taken for a formula."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    text = display(value if isinstance(value, str) else json.dumps(value, default=str), limit=None)
    return f"'{text}" if _FORMULA.match(text) else text
