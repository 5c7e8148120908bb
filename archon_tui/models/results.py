"""A file's record as the Results screen shows it."""

from __future__ import annotations

from typing import Any

from archon_tui.filters import Fields
from archon_tui.text import bar
from archon_tui.widgets.painted import Line
from core import units
from core.events.intelligence import FileIntelligence, Score
from core.results.records import IndexedFile

FIELDS: Fields[IndexedFile] = Fields(
    text=lambda row: row.path,
    size=lambda row: row.size_bytes,
    named={
        "lang": lambda row: row.language or "",
        "source": lambda row: row.content_source,
        "project": lambda row: row.project,
    },
)
SYMBOLS_SHOWN = 500


def record_lines(record: FileIntelligence) -> list[Line]:
    """Scores with what they rest on, recommendations, symbols."""
    analysis = record.analysis
    lines: list[Line] = [
        [(record.path, "bold")],
        [(f"{record.project} · {analysis.language or '–'} · {units.size(record.size_bytes)}", "dim")],
        [],
    ]
    if counts := analysis.lines:
        comment = "" if counts.comment is None else f", {counts.comment:,} comment"
        lines.append([("lines  ", "dim"), (f"{counts.total:,}: {counts.code:,} code{comment}", "")])
    lines.append([])
    scores: tuple[tuple[str, Score], ...] = (
        ("quality", analysis.scores.quality),
        ("complexity", analysis.scores.complexity),
        ("maintainability", analysis.scores.maintainability),
        ("documentation", analysis.scores.documentation),
    )
    lines += [score_line(name, score) for name, score in scores]
    lines += [[], [("maturity  ", "dim"), (analysis.maturity or f"– {analysis.maturity_reason or ''}", "")]]
    lines += [[("· ", "accent"), (text, "")] for text in analysis.recommendations]
    if analysis.symbols:
        lines += [[], [(f"{len(analysis.symbols):,} symbols", "title")]]
        for symbol in analysis.symbols[:SYMBOLS_SHOWN]:
            complexity = "" if symbol.complexity is None else f"  cc {symbol.complexity}"
            style = "warn" if (symbol.complexity or 0) > 10 else "dim"
            lines.append(
                [
                    (f"{symbol.start_line:>6} ", "dim"),
                    ("  " * symbol.nesting, ""),
                    (f"{symbol.kind} ", "keyword"),
                    (symbol.name, ""),
                    (complexity, style),
                ]
            )
    if analysis.imports:
        lines += [[], [("imports  ", "dim"), (", ".join(analysis.imports[:50]), "")]]
    lines += [
        [],
        [("from     ", "dim"), (record.content_source, "")],
        [
            ("checksum ", "dim"),
            (record.checksum, ""),
            (" verified" if record.checksum_verified else " unverified", "dim"),
        ],
    ]
    return lines


def score_line(name: str, score: Score) -> Line:
    """`quality ▕████░░▏ 0.83`, or why there is none."""
    if score.value is None:
        return [(f"{name:<16}", "dim"), (f"– {score.reason or ''}", "dim")]
    style = "ok" if score.value >= 0.7 else "warn" if score.value >= 0.4 else "fail"
    return [(f"{name:<16}", "dim"), (bar(score.value, 14), style), (f" {score.value:.2f}", "")]


def document(row: IndexedFile) -> dict[str, Any]:
    """The row as it is exported."""
    return {
        "project": row.project,
        "path": row.path,
        "language": row.language,
        "size_bytes": row.size_bytes,
        "code_lines": row.code_lines,
        "symbols": row.symbols,
        "max_complexity": row.max_complexity,
        "quality": row.quality,
    }
