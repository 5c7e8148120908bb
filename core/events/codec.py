"""Bytes to events and back. v1 and v2 decode to one internal request; only v2 is encoded.

A path that is not UTF-8 travels as JSON escapes of lone surrogates (`"caf\\udce9.py"`): legal JSON, and the
exact bytes come back (PEP 383). The fast JSON library refuses those, so the standard one takes over for them.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pydantic_core
from pydantic import BaseModel, ValidationError

from core.errors import InvalidEvent, UnknownSchemaVersion
from core.events import topics
from core.events.request import Carrier, IndexRequest, RequestedFile
from core.events.v1 import FileV1, ModelEventIndexProjectRequestedV1
from core.events.v2 import SCHEMA_VERSION, FileV2, ModelEventIndexProjectRequestedV2

ID_LIMIT = 1024
"""Characters of an event's ids: they come back in every event about it."""

PATH_LIMIT = 4096
"""Characters of a path, as PATH_MAX of Linux: it comes back in keys, records and failures."""

_NO_FILES = b'"files":[]'


def to_json(value: BaseModel | Mapping[str, Any], *, exclude_none: bool = False) -> bytes:
    """A model, or the fields of one, as compact JSON."""
    try:
        return pydantic_core.to_json(value, exclude_none=exclude_none)
    except pydantic_core.PydanticSerializationError:
        data = pydantic_core.to_jsonable_python(value, exclude_none=exclude_none)
        return json.dumps(data, separators=(",", ":")).encode()


def with_field(json_object: bytes, name: str, value: bytes) -> bytes:
    """A JSON object that has fields, with one more whose JSON is `value`."""
    return b'%b,"%b":%b}' % (json_object[:-1], name.encode(), value)


def from_json(value: bytes) -> Any:
    """Parsed JSON. Raises `InvalidEvent` for bytes that are none."""
    try:
        return pydantic_core.from_json(value)
    except ValueError:
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            raise InvalidEvent(f"not JSON: {error}") from None


def decode_content(content: str, encoding: str | None) -> bytes:
    """The bytes of wire content. Raises `InvalidEvent` where content and encoding contradict each other."""
    try:
        match encoding:
            case "base64":
                return base64.b64decode(content, validate=True)
            case "latin-1":
                return content.encode("latin-1")
            case _:
                return content.encode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise InvalidEvent(f"content is not {encoding or 'utf-8'}: {error}") from None


def encode_file(file: FileV2 | Mapping[str, Any]) -> bytes:
    """One file's JSON, as it stands in `files`; absent fields are absent.

    What is made here needs no model to check it: that costs as much as encoding it.
    """
    return to_json(file, exclude_none=True)


def encode_request(event: ModelEventIndexProjectRequestedV2, files: Sequence[bytes]) -> bytes:
    """A request event around files encoded before by `encode_file`; `event.payload.files` is empty.

    The size of the result is `len(encode_request(event, ()))` plus the files' sizes and their commas.
    """
    # Inside a JSON string the quotes would be escaped, so this text stands in the event exactly once.
    head, found, tail = to_json(event).partition(_NO_FILES)
    if not found:
        raise ValueError("the event already has files")
    return b"".join((head, b'"files":[', b",".join(files), b"]", tail))


def decode_request(value: bytes | None) -> IndexRequest:
    """The internal request. Raises `InvalidEvent`, or `UnknownSchemaVersion` for a version not known."""
    data = from_json(value) if value else None
    if not isinstance(data, dict):
        raise InvalidEvent("the message is empty" if not value else "the event is not a JSON object")
    version = data.get("schema_version", data.get("version"))
    kind = data.get("event_type")
    try:
        if version == SCHEMA_VERSION:
            _expect(kind, topics.REQUESTED_V2)
            return _bounded(_from_v2(ModelEventIndexProjectRequestedV2.model_validate(data)))
        if isinstance(version, str) and version.startswith("1."):
            _expect(kind, topics.REQUESTED_V1)
            return _bounded(_from_v1(ModelEventIndexProjectRequestedV1.model_validate(data)))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "event"
        raise InvalidEvent(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
    raise UnknownSchemaVersion(
        f"schema version {version!r} is not known", hint="upgrade this agent, then redrive"
    )


def keep_files(value: bytes, indexes: Sequence[int]) -> bytes:
    """The event with only these of its files and without deletions, all else as it came.

    Never much longer than `value`: text stays UTF-8, and only what UTF-8 cannot say is escaped.
    """
    data = from_json(value)
    payload = data["payload"]
    payload["files"] = [payload["files"][index] for index in indexes]
    payload.pop("deleted_files", None)
    # The codec's escape of a lone surrogate is JSON's as well.
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")


def leave_out(value: bytes, paths: Collection[str]) -> bytes:
    """The event without these paths, files and deletions alike, all else as it came."""
    data = from_json(value)
    payload = data["payload"]
    payload["files"] = [file for file in payload.get("files", ()) if file["relative_path"] not in paths]
    if payload.get("deleted_files"):
        payload["deleted_files"] = [path for path in payload["deleted_files"] if path not in paths]
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")


def _expect(kind: object, expected: str) -> None:
    if kind != expected:
        raise InvalidEvent(f"event type {kind!r}, expected {expected}")


def _bounded(request: IndexRequest) -> IndexRequest:
    """Refuse ids and paths that no event about this one would have room for, records included."""
    for name in ("event_id", "correlation_id", "batch_id"):
        if (length := len(getattr(request, name))) > ID_LIMIT:
            raise InvalidEvent(f"{name} has {length:,} characters, more than {ID_LIMIT:,}")
    for path in (*(file.relative_path for file in request.files), *request.deleted_files):
        if len(path) > PATH_LIMIT:
            raise InvalidEvent(f"a path has {len(path):,} characters, more than {PATH_LIMIT:,}")
    return request


def _from_v2(event: ModelEventIndexProjectRequestedV2) -> IndexRequest:
    payload = event.payload
    return IndexRequest(
        event_id=event.event_id,
        event_type=event.event_type,
        correlation_id=event.correlation_id,
        timestamp=event.timestamp,
        schema_version=event.schema_version,
        batch_id=str(event.metadata.batch_id),
        project_name=payload.project_name,
        project_path=payload.project_path,
        files=tuple(_requested(file) for file in payload.files),
        deleted_files=payload.deleted_files,
        git_url=payload.git_url,
        git_ref=payload.git_ref,
        git_branch=payload.git_branch,
        git_credentials=payload.git_credentials,
        object_storage=payload.object_storage_config,
        include_tests=payload.include_tests,
        force_reindex=payload.force_reindex,
        trace_id=event.metadata.trace_id,
        span_id=event.metadata.span_id,
    )


def _requested(file: FileV2) -> RequestedFile:
    return RequestedFile(
        relative_path=file.relative_path,
        carrier=Carrier(file.content_strategy.value),
        language=file.language,
        size_bytes=file.size_bytes,
        last_modified=file.last_modified,
        checksum=file.checksum,
        content=file.content,
        content_encoding=file.content_encoding,
        content_url=file.content_url,
        content_url_type=file.content_url_type,
        content_url_expires_at=file.content_url_expires_at,
        object_key=file.object_key,
        git_blob=file.git_blob,
    )


def _from_v1(event: ModelEventIndexProjectRequestedV1) -> IndexRequest:
    payload = event.payload
    return IndexRequest(
        event_id=event.event_id,
        event_type=event.event_type,
        correlation_id=event.correlation_id,
        timestamp=event.timestamp,
        schema_version=event.version,
        batch_id=str(event.metadata.get("batch_id", "")),
        project_name=payload.project_name,
        project_path=payload.project_path,
        files=tuple(_from_file_v1(file) for file in payload.files),
        deleted_files=payload.deleted_files,
        include_tests=payload.include_tests,
        force_reindex=payload.force_reindex,
    )


def _from_file_v1(file: FileV1) -> RequestedFile:
    checksum = file.checksum or file.content_hash
    inline = file.content is not None
    return RequestedFile(
        relative_path=file.relative_path,
        carrier=Carrier.INLINE if inline else Carrier.LOCAL_PATH,
        language=file.language,
        size_bytes=file.size_bytes,
        last_modified=file.last_modified,
        # v1 publishers hashed with BLAKE3 or not at all; only SHA-256 is verified.
        checksum=checksum if checksum and checksum.startswith("sha256:") else None,
        content=file.content,
        content_encoding="utf-8" if inline else None,
        file_path=file.file_path,
    )
