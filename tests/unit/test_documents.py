"""What is generated from code is up to date, and the schemas accept what the code sends and reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from core.events.schema import documents
from tests.generate_docs import ROOT, generated

SAMPLES = Path(__file__).parents[1] / "samples"
EVENT_SCHEMAS = [name for name in documents() if name != "asyncapi"]


@pytest.mark.parametrize("path", generated(), ids=str)
def test_generated_document_is_current(path: Path) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == generated()[path], "run `make docs`"


@pytest.mark.parametrize("name", EVENT_SCHEMAS)
def test_schema_is_valid(name: str) -> None:
    Draft202012Validator.check_schema(documents()[name])


@pytest.mark.parametrize(
    ("sample", "schema"),
    [
        ("v1-paths", "index-project-requested.v1"),
        ("v1-with-content", "index-project-requested.v1"),
        ("v2-mixed", "index-project-requested.v2"),
    ],
)
def test_schema_accepts_the_sample(sample: str, schema: str) -> None:
    event: dict[str, Any] = json.loads((SAMPLES / f"{sample}.json").read_bytes())
    validator = Draft202012Validator(documents()[schema])
    validator.validate(event)
    del event["payload"]["project_name"]
    assert not validator.is_valid(event)


def test_every_channel_of_asyncapi_names_a_message_with_a_schema() -> None:
    document = documents()["asyncapi"]
    for channel in document["channels"].values():
        for name in channel["messages"]:
            reference = document["components"]["messages"][name]["payload"]["schema"]["$ref"]
            assert (ROOT / "docs/events" / reference).is_file()
