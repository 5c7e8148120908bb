"""What people see: stdout is data, stderr is narration; untrusted text goes through `safety.display`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from core.safety.display import display

if TYPE_CHECKING:  # rich is imported when something is printed, so that --help stays quick
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out: Console
    err: Console

# Piped output is read by programs: there a table keeps one line per row.
PIPED_WIDTH = 1000


def __getattr__(name: str) -> Console:
    """`out` is the console of stdout, `err` that of stderr."""
    if name not in ("out", "err"):
        raise AttributeError(name)
    return _console(name == "err")


@cache
def _console(stderr: bool) -> Console:
    from rich.console import Console

    width = None if stderr or sys.stdout.isatty() else PIPED_WIDTH
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=width)


def print_json(value: Any) -> None:
    """One JSON document on stdout; paths that are not UTF-8 keep their bytes as escapes."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def text(plain: str) -> Text:
    """Text that is printed as it stands, never read as markup."""
    from rich.text import Text

    return Text(plain)


def line(untrusted: str) -> Text:
    """Text from strangers as one line that shows it safely."""
    return text(display(untrusted, limit=2000))


def say(narration: str) -> None:
    """Print a line of narration to stderr."""
    _console(True).print(text(narration))


def table(
    columns: Iterable[str], rows: Iterable[Iterable[object]], *, right: frozenset[str] = frozenset()
) -> Table:
    """A plain table; every cell is shown as text, never as markup. `right` columns are right-aligned."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(text("–" if cell is None else display(str(cell))) for cell in row))
    return made
