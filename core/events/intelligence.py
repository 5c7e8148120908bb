"""The per-file record, and the request/response pair of the bridge that makes it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from core.events.common import AnyText, ContentEncoding, Text, Timestamped, Wire
from core.events.order import RequestPosition

SymbolKind = Literal[
    "class",
    "interface",
    "struct",
    "enum",
    "trait",
    "module",
    "function",
    "method",
    "type",
    "constant",
    "macro",
]
Maturity = Literal["stub", "early", "developing", "mature"]


class LineCounts(Wire):
    """Physical lines by kind; a line with code and a comment counts as code.

    `comment` is None where the language's comments are not known: those lines count as code.
    """

    total: int
    code: int
    comment: int | None
    blank: int


class Symbol(Wire):
    """A definition. Lines are 1-based and inclusive; `nesting` is 0 at file level.

    `complexity` is McCabe's cyclomatic complexity, for functions and methods only.
    """

    kind: SymbolKind
    name: str
    start_line: int
    end_line: int
    nesting: int = 0
    parent: str | None = None
    complexity: int | None = None
    documented: bool | None = None


class Score(Wire):
    """A figure from 0 (worst) to 1 (best), or None with the reason why there is none.

    `inputs` are the figures the formula read, so that a person can check the value.
    """

    value: Annotated[float, Field(ge=0, le=1)] | None
    reason: str | None = None
    inputs: dict[str, int | float] = Field(default_factory=dict)


class Scores(Wire):
    """The four scores; formulas in docs/intelligence.md."""

    quality: Score
    complexity: Score
    maintainability: Score
    documentation: Score


class FileAnalysis(Wire):
    """What reading one file's bytes yields; knows nothing of projects or events."""

    language: str | None
    is_binary: bool
    encoding: str | None
    lines: LineCounts | None
    symbols: tuple[Symbol, ...] = ()
    imports: tuple[str, ...] = ()
    max_complexity: int | None = None
    scores: Scores
    maturity: Maturity | None
    maturity_reason: str | None = None
    recommendations: tuple[str, ...] = ()
    parse_errors: int = 0
    truncated: tuple[str, ...] = ()
    analyzer_version: str


class Delivery(Wire):
    """How the consumer got a file's bytes: its part of the group's seconds, attempts, bytes over the wire.

    `cache_hit` is null where there is no cache; `fallback_from` is the source that another stood in for.
    """

    seconds: float
    attempts: int = 1
    wire_bytes: int = 0
    cache_hit: bool | None = None
    fallback_from: str | None = None


class FileIdentity(Wire):
    """Which bytes a record is of, and where they came from.

    Identity for idempotence: (project, path, checksum, analyzer_version). `checksum` is the SHA-256
    the consumer computed; `checksum_verified` says whether the event let it be checked. `request` is the
    request that the record answers: of two records of a path, that of the newer request counts.
    """

    project: str
    path: AnyText
    checksum: str
    checksum_verified: bool
    size_bytes: int
    content_source: str
    correlation_id: str | None = None
    generated_at: datetime
    delivery: Delivery | None = None
    request: RequestPosition | None = None


class FileIntelligence(FileIdentity):
    """The record of one file: identity, where its bytes came from, and the analysis."""

    analysis: FileAnalysis


class BridgeIntelligenceRequest(Wire):
    """Ask for one file's intelligence; `content` is preferred, `file_path` is the v1 fallback."""

    file_path: AnyText
    project_name: Annotated[Text, Field(min_length=1, max_length=100)] = "default"
    project_path: AnyText | None = None
    language: Text | None = None
    content: str | None = None
    content_encoding: ContentEncoding = "utf-8"
    content_strategy: str | None = None
    checksum: Text | None = None
    correlation_id: Text | None = None


class BridgeIntelligenceResponse(Wire):
    """The record, or the failure's reason; exactly one is set."""

    success: bool
    intelligence: FileIntelligence | None = None
    error_reason: str | None = None
    error: str | None = None


class FileIntelligenceHeader(Timestamped):
    """The per-file results event without its record."""

    schema_version: Literal["1.0.0"] = "1.0.0"


class FileIntelligenceGenerated(FileIntelligenceHeader):
    """The per-file results event; keyed by project and path, so a compacted topic is a table."""

    payload: FileIntelligence
