"""What the results index gives back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from core.events.codec import from_json
from core.events.intelligence import FileAnalysis, FileIntelligence


class IndexedFile(NamedTuple):
    """A file's record without its analysis; sizes in bytes, None where the analysis has no figure."""

    project: str
    path: str
    checksum: str
    checksum_verified: bool
    size_bytes: int
    content_source: str
    correlation_id: str | None
    generated_at: datetime
    analyzer_version: str
    language: str | None
    code_lines: int | None
    symbols: int
    max_complexity: int | None
    quality: float | None


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A file's whole record; `analysis` is the JSON of a `FileAnalysis`."""

    file: IndexedFile
    analysis: bytes

    def intelligence(self) -> FileIntelligence:
        """The record as it was written."""
        file = self.file
        return FileIntelligence.model_construct(
            project=file.project,
            path=file.path,
            checksum=file.checksum,
            checksum_verified=file.checksum_verified,
            size_bytes=file.size_bytes,
            content_source=file.content_source,
            correlation_id=file.correlation_id,
            generated_at=file.generated_at,
            analysis=FileAnalysis.model_validate(from_json(self.analysis)),
        )

    def to_json(self) -> dict[str, Any]:
        """The published shape: identity and analysis side by side."""
        file = self.file
        return {
            "project": file.project,
            "path": file.path,
            "checksum": file.checksum,
            "checksum_verified": file.checksum_verified,
            "size_bytes": file.size_bytes,
            "content_source": file.content_source,
            "correlation_id": file.correlation_id,
            "generated_at": file.generated_at.isoformat().replace("+00:00", "Z"),
            **json.loads(self.analysis),
        }


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A file that a search found; `symbols` are the names in it that matched, each once."""

    project: str
    path: str
    language: str | None
    symbols: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The published shape of one hit of `search --json`."""
        return {
            "project": self.project,
            "path": self.path,
            "language": self.language,
            "symbols": list(self.symbols),
        }


class ProjectTotals(NamedTuple):
    """A project's files, their bytes, and when its newest record was made."""

    project: str
    files: int
    bytes: int
    generated_at: datetime


class LanguageTotals(NamedTuple):
    """The files of one language; `language` is None for those without."""

    language: str | None
    files: int
    bytes: int
    code_lines: int


class ComplexFunction(NamedTuple):
    """A function with its cyclomatic complexity."""

    path: str
    name: str
    start_line: int
    complexity: int


@dataclass(frozen=True, slots=True)
class ProjectSummary:
    """A project at a glance; languages by code lines, functions by complexity, both falling."""

    project: str
    files: int
    bytes: int
    code_lines: int
    languages: tuple[LanguageTotals, ...]
    complex_functions: tuple[ComplexFunction, ...]
