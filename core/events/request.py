"""The one internal form of a request, whatever version it arrived in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.events.order import RequestPosition
from core.events.v2 import GitCredentials, ObjectStorageConfig


class Carrier(StrEnum):
    """What a file of a request says about where its bytes are. `LOCAL_PATH` exists in v1 only."""

    INLINE = "inline"
    OBJECT_STORAGE = "object_storage"
    GIT_REFERENCE = "git_reference"
    LOCAL_PATH = "local_path"


@dataclass(frozen=True, slots=True)
class RequestedFile:
    """One file of a request. `relative_path` is the key; bytes not UTF-8 are surrogate escapes.

    `checksum` is `sha256:<hex>`, or None where the event carries none that can be verified.
    """

    relative_path: str
    carrier: Carrier
    language: str | None = None
    size_bytes: int | None = None
    last_modified: datetime | None = None
    checksum: str | None = None
    content: str | None = None
    content_encoding: str | None = None
    content_url: str | None = None
    content_url_type: str | None = None
    content_url_expires_at: datetime | None = None
    object_key: str | None = None
    git_blob: str | None = None
    file_path: str | None = None


@dataclass(frozen=True, slots=True)
class IndexRequest:
    """A batch of files to index and of paths to forget. `position` is set once it was read from a log."""

    event_id: str
    event_type: str
    correlation_id: str
    timestamp: datetime
    schema_version: str
    batch_id: str
    project_name: str
    project_path: str | None
    files: tuple[RequestedFile, ...]
    deleted_files: tuple[str, ...] = ()
    git_url: str | None = None
    git_ref: str | None = None
    git_branch: str | None = None
    git_credentials: GitCredentials | None = None
    object_storage: ObjectStorageConfig | None = None
    include_tests: bool = True
    force_reindex: bool = False
    trace_id: str | None = None
    span_id: str | None = None
    sampled: bool = True
    position: RequestPosition | None = None

    @property
    def bytes_expected(self) -> int:
        """Raw bytes of all files as far as the event states them."""
        return sum(file.size_bytes or 0 for file in self.files)
