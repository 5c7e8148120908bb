"""The v1 request event, as the system archon replaces still sends it. Read, never written."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from core.events.common import AnyText, Timestamped, Wire


class FileV1(Wire):
    """A file by path, or with its content; two publishers spelled language and checksum differently."""

    relative_path: Annotated[AnyText, Field(min_length=1)]
    file_path: AnyText | None = None
    size_bytes: Annotated[int, Field(ge=0)] | None = None
    last_modified: datetime | None = None
    language: str | None = None
    file_type: str | None = None
    content: str | None = None
    content_strategy: str | None = None
    checksum: str | None = None
    content_hash: str | None = None


class PayloadV1(Wire):
    """What to index."""

    project_name: Annotated[str, Field(min_length=1, max_length=100)]
    project_path: AnyText | None = None
    files: tuple[FileV1, ...] = ()
    deleted_files: tuple[AnyText, ...] = ()
    include_tests: bool = True
    force_reindex: bool = False


class ModelEventIndexProjectRequestedV1(Timestamped):
    """The v1 request event."""

    version: str = "1.0.0"
    metadata: dict[str, Any] = Field(default_factory=dict)
    payload: PayloadV1
