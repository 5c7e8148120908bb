"""The wire contract: both versions decode to one request, and what is encoded comes back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidEvent, UnknownSchemaVersion
from core.events import topics
from core.events.codec import decode_request, encode_file, encode_request, keep_files
from core.events.common import ContentStrategy, Source
from core.events.request import Carrier
from core.events.v2 import FileV2, MetadataV2, ModelEventIndexProjectRequestedV2, PayloadV2

SAMPLES = Path(__file__).parents[1] / "samples"
SHA = "sha256:" + "0" * 64
BLOB = "1" * 40


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def changed(name: str, **changes: Any) -> bytes:
    return json.dumps(json.loads(sample(name)) | changes).encode()


def file(**fields: Any) -> FileV2:
    base: dict[str, Any] = {
        "relative_path": "a.py",
        "size_bytes": 2,
        "checksum": SHA,
        "content_strategy": ContentStrategy.INLINE,
        "content": "x\n",
        "content_encoding": "utf-8",
    }
    return FileV2(**(base | fields))


def event(**payload: Any) -> ModelEventIndexProjectRequestedV2:
    return ModelEventIndexProjectRequestedV2(
        event_id="e",
        event_type=topics.REQUESTED_V2,
        correlation_id="c",
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
        source=Source(service="test", instance_id="1"),
        metadata=MetadataV2(batch_id=1, batch_size=1, content_strategy=ContentStrategy.INLINE),
        payload=PayloadV2(project_name="p", **payload),
    )


def test_v1_paths_become_local_paths() -> None:
    request = decode_request(sample("v1-paths.json"))
    assert (request.project_name, request.batch_id, request.schema_version) == ("demo", "3", "1.0.0")
    assert [(f.relative_path, f.carrier, f.file_path, f.size_bytes) for f in request.files] == [
        ("a.py", Carrier.LOCAL_PATH, "/mnt/projects/demo/a.py", 12),
        ("pkg/__init__.py", Carrier.LOCAL_PATH, "/mnt/projects/demo/pkg/__init__.py", 0),
    ]


def test_v1_content_is_inline_and_blake3_is_not_taken_for_proof() -> None:
    first, second = decode_request(sample("v1-with-content.json")).files
    assert (first.carrier, first.content, first.checksum) == (Carrier.INLINE, "print('hi')\n", None)
    assert (second.carrier, second.content) == (Carrier.LOCAL_PATH, None)


def test_v2_sample_decodes_each_strategy() -> None:
    request = decode_request(sample("v2-mixed.json"))
    assert request.project_path is None
    assert request.git_ref == "0123456789abcdef0123456789abcdef01234567"
    assert request.git_credentials is not None
    assert request.git_credentials.credential_ref == "env:DEMO_GIT_TOKEN"
    assert request.object_storage is not None
    assert request.object_storage.bucket == "demo-content"
    assert request.deleted_files == ("old/gone.py",)
    by_path = {f.relative_path: f for f in request.files}
    assert by_path["pkg/__init__.py"].content == ""
    assert by_path["img/dot.bin"].content_encoding == "base64"
    assert by_path["data/big.csv"].carrier is Carrier.OBJECT_STORAGE
    assert by_path["vendor/lib.c"].git_blob == "89abcdef0123456789abcdef0123456789abcdef"
    assert request.bytes_expected == 12 + 0 + 4 + 250_000 + 180_000


@pytest.mark.parametrize("version", ["3.0.0", "2.1.0", None, 2])
def test_unknown_version_is_told_apart(version: object) -> None:
    with pytest.raises(UnknownSchemaVersion):
        decode_request(changed("v2-mixed.json", schema_version=version))


@pytest.mark.parametrize(
    "value",
    [None, b"", b"\xff\xfe", b"{", b"[]", b'"x"', b"[" * 100_000, b'{"schema_version": "2.0.0"}'],
    ids=["tombstone", "empty", "binary", "cut", "array", "text", "deep", "bare"],
)
def test_poison_is_invalid(value: bytes | None) -> None:
    with pytest.raises(InvalidEvent):
        decode_request(value)


def test_error_names_the_field() -> None:
    data = json.loads(sample("v2-mixed.json"))
    data["payload"]["files"][0]["checksum"] = "md5:1"
    with pytest.raises(InvalidEvent, match=r"payload\.files\.0\.checksum"):
        decode_request(json.dumps(data).encode())


def test_unknown_extra_fields_are_ignored() -> None:
    data = json.loads(sample("v2-mixed.json"))
    data["novelty"] = data["payload"]["novelty"] = data["payload"]["files"][0]["novelty"] = {"a": 1}
    assert len(decode_request(json.dumps(data).encode()).files) == 5


@pytest.mark.parametrize(
    "fields",
    [
        {"content": None},
        {"content_encoding": None},
        {"object_key": "k"},
        {"checksum": None},
        {"size_bytes": -1},
        {"relative_path": ""},
        {"content_strategy": ContentStrategy.OBJECT_STORAGE},
    ],
)
def test_exactly_the_fields_of_the_strategy(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        file(**fields)


def test_git_reference_stands_without_checksum_only_by_its_blob() -> None:
    by_git = {"content_strategy": ContentStrategy.GIT_REFERENCE, "content": None, "content_encoding": None}
    assert file(**by_git, checksum=None, git_blob=BLOB).checksum is None
    with pytest.raises(ValueError, match="git_blob"):
        file(**by_git, checksum=None)


def test_git_reference_needs_the_repository() -> None:
    by_git = file(
        content_strategy=ContentStrategy.GIT_REFERENCE, content=None, content_encoding=None, git_blob=BLOB
    )
    encoded = encode_request(event(), [encode_file(by_git)])
    with pytest.raises(InvalidEvent, match="git_url"):
        decode_request(encoded)


def test_payload_strategy_is_the_default_of_its_files() -> None:
    data = json.loads(sample("v2-mixed.json"))
    del data["payload"]["files"][0]["content_strategy"]
    assert decode_request(json.dumps(data).encode()).files[0].carrier is Carrier.INLINE


def test_absent_fields_are_absent_and_empty_content_is_not() -> None:
    encoded = json.loads(encode_file(file(content="", size_bytes=0)))
    assert encoded["content"] == ""
    assert not {"content_url", "object_key", "git_blob", "last_modified"} & encoded.keys()


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=5), st.binary(min_size=1, max_size=40))
def test_round_trip(contents: list[str], raw_path: bytes) -> None:
    path = raw_path.decode("utf-8", "surrogateescape")
    files = [file(relative_path=path, content=content) for content in contents]
    envelope = event(project_path='"files":[]', deleted_files=(path,))
    encoded = [encode_file(each) for each in files]
    value = encode_request(envelope, encoded)
    request = decode_request(value)
    assert [(f.relative_path, f.content) for f in request.files] == [(path, content) for content in contents]
    assert request.deleted_files == (path,)
    assert request.project_path == '"files":[]'
    assert len(value) == len(encode_request(envelope, ())) + sum(len(each) + 1 for each in encoded) - bool(
        encoded
    )


def test_keep_files_keeps_all_else() -> None:
    value = keep_files(sample("v2-mixed.json"), [1, 4])
    request = decode_request(value)
    assert [f.relative_path for f in request.files] == ["pkg/__init__.py", "vendor/lib.c"]
    assert (request.deleted_files, request.event_id) == ((), "9a1c9b0b-0f5d-4b36-9b86-5b6f6c2b1d33")
