"""The v2 request event: `ModelEventIndexProjectRequestedV2` in its envelope."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from core.events.common import (
    AnyText,
    ContentEncoding,
    ContentStrategy,
    ObjectId,
    Sha256,
    Timestamped,
    Wire,
)

SCHEMA_VERSION: Final = "2.0.0"

# Which fields carry a file under each strategy: (required, optional).
STRATEGY_FIELDS: dict[ContentStrategy, tuple[frozenset[str], frozenset[str]]] = {
    ContentStrategy.INLINE: (frozenset({"content", "content_encoding"}), frozenset({"git_blob"})),
    ContentStrategy.OBJECT_STORAGE: (
        frozenset({"object_key"}),
        frozenset({"content_url", "content_url_type", "content_url_expires_at", "git_blob"}),
    ),
    ContentStrategy.GIT_REFERENCE: (frozenset(), frozenset({"git_blob"})),
}
_CARRIERS = frozenset().union(*(needed | extra for needed, extra in STRATEGY_FIELDS.values()))


class GitCredentials(Wire):
    """A reference to a secret, never the secret: `env:NAME`, `file:/path`, `aws-secretsmanager:…`."""

    type: Literal["token", "ssh_key"]
    credential_ref: str


class ObjectStorageConfig(Wire):
    """Where the event's objects live."""

    provider: str
    bucket: str
    region: str | None = None
    endpoint: str | None = None


class FileV2(Wire):
    """One file; exactly the fields of its strategy are set.

    `size_bytes` counts raw bytes. `checksum` may be absent only on a `git_reference` whose bytes the
    publisher never read; `git_blob` stands in for it. `content == ""` is an empty file.
    """

    relative_path: Annotated[AnyText, Field(min_length=1)]
    language: str | None = None
    size_bytes: Annotated[int, Field(ge=0)] | None = None
    last_modified: datetime | None = None
    checksum: Sha256 | None = None
    content_strategy: ContentStrategy
    content: str | None = None
    content_encoding: ContentEncoding | None = None
    content_url: str | None = None
    content_url_type: str | None = None
    content_url_expires_at: datetime | None = None
    object_key: str | None = None
    git_blob: ObjectId | None = None

    @model_validator(mode="after")
    def _fields_of_strategy(self) -> Self:
        required, optional = STRATEGY_FIELDS[self.content_strategy]
        present = {name for name in _CARRIERS if getattr(self, name) is not None}
        if missing := required - present:
            raise ValueError(f"{self.content_strategy} needs {', '.join(sorted(missing))}")
        if foreign := present - required - optional:
            raise ValueError(f"{self.content_strategy} does not carry {', '.join(sorted(foreign))}")
        if self.checksum is None and (
            self.content_strategy is not ContentStrategy.GIT_REFERENCE or not self.git_blob
        ):
            raise ValueError("checksum is required unless a git_reference carries git_blob")
        return self


class PayloadV2(Wire):
    """What to index; `content_strategy` is the default for `files`."""

    project_name: Annotated[str, Field(min_length=1, max_length=100)]
    project_path: AnyText | None = None
    content_strategy: ContentStrategy = ContentStrategy.INLINE
    git_url: str | None = None
    git_ref: ObjectId | None = None
    git_branch: str | None = None
    git_credentials: GitCredentials | None = None
    object_storage_config: ObjectStorageConfig | None = None
    files: tuple[FileV2, ...] = ()
    deleted_files: tuple[AnyText, ...] = ()
    include_tests: bool = True
    force_reindex: bool = False

    @model_validator(mode="before")
    @classmethod
    def _default_strategy(cls, data: object) -> object:
        """Give files without a strategy of their own the payload's."""
        if not isinstance(data, dict) or not isinstance(data.get("files"), list | tuple):
            return data
        default = data.get("content_strategy") or ContentStrategy.INLINE
        files = [
            {**file, "content_strategy": default}
            if isinstance(file, dict) and not file.get("content_strategy")
            else file
            for file in data["files"]
        ]
        return {**data, "files": files}

    @model_validator(mode="after")
    def _git_files_have_a_repository(self) -> Self:
        by_git = any(file.content_strategy is ContentStrategy.GIT_REFERENCE for file in self.files)
        if by_git and not (self.git_url and self.git_ref):
            raise ValueError("git_reference needs the payload's git_url and git_ref")
        return self


class MetadataV2(Wire):
    """About the batch: its number within the run, file count and raw content size in bytes."""

    batch_id: int | str
    batch_size: int
    content_strategy: ContentStrategy
    total_content_size_bytes: int = 0
    trace_id: str | None = None
    span_id: str | None = None
    extra: dict[str, str] | None = None


class ModelEventIndexProjectRequestedV2(Timestamped):
    """The v2 request event."""

    schema_version: Literal["2.0.0"] = SCHEMA_VERSION
    metadata: MetadataV2
    payload: PayloadV2
