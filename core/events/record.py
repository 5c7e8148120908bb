"""A file's record on its way through the consumer, where the analysis stays the JSON it was made as.

Making a `FileAnalysis` of it, and JSON again, would cost as much as a quarter of all parsing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from core.events.codec import from_json, to_json, with_field
from core.events.intelligence import FileAnalysis, FileIdentity, FileIntelligence


class Analysis(NamedTuple):
    """The JSON of a `FileAnalysis`, and the figures an index keeps beside it.

    `names` are those of its symbols, in order; None stands where the analysis has no figure.
    """

    json: bytes
    analyzer_version: str
    language: str | None
    code_lines: int | None
    max_complexity: int | None
    quality: float | None
    names: tuple[str, ...]

    @classmethod
    def of(cls, analysis: FileAnalysis) -> Analysis:
        """The same in this form."""
        return cls(
            json=to_json(analysis),
            analyzer_version=analysis.analyzer_version,
            language=analysis.language,
            code_lines=analysis.lines.code if analysis.lines else None,
            max_complexity=analysis.max_complexity,
            quality=analysis.scores.quality.value,
            names=tuple(symbol.name for symbol in analysis.symbols),
        )

    def model(self) -> FileAnalysis:
        """The analysis itself."""
        return FileAnalysis.model_validate(from_json(self.json))


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Which file, and its analysis."""

    identity: FileIdentity
    analysis: Analysis

    def intelligence(self) -> FileIntelligence:
        """The record as the wire knows it."""
        identity = self.identity
        return FileIntelligence.model_construct(**dict(identity), analysis=self.analysis.model())

    def to_json(self) -> bytes:
        """The JSON of `intelligence()`."""
        return with_field(to_json(self.identity), "analysis", self.analysis.json)
