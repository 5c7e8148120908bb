"""Requests as a consumer sees them, for tests of fetchers."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from core.events.request import Carrier, IndexRequest, RequestedFile
from core.events.v2 import ObjectStorageConfig


def sha256(content: bytes) -> str:
    """`sha256:<hex>` of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def stored_file(content: bytes, path: str = "a.txt", **fields: Any) -> RequestedFile:
    """A file of `content` that travels by object storage."""
    facts = {"checksum": sha256(content), "size_bytes": len(content), **fields}
    return RequestedFile(path, Carrier.OBJECT_STORAGE, **facts)


def request_for(*files: RequestedFile, where: ObjectStorageConfig | None = None) -> IndexRequest:
    """A request of these files."""
    return IndexRequest(
        event_id="e",
        event_type="t",
        correlation_id="c",
        timestamp=datetime(2026, 1, 5, tzinfo=UTC),
        schema_version="2.0.0",
        batch_id="1",
        project_name="demo",
        project_path=None,
        files=files,
        object_storage=where,
    )
