"""Types that the events of every version share."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


class ContentStrategy(StrEnum):
    """How a file's bytes travel."""

    INLINE = "inline"
    OBJECT_STORAGE = "object_storage"
    GIT_REFERENCE = "git_reference"


ContentEncoding = Literal["utf-8", "latin-1", "base64"]


class Wire(BaseModel):
    """Base of every model on the wire: immutable, unknown extra fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class _AnyText:
    """A `str` that may hold surrogate escapes, as a path that is not UTF-8 does.

    pydantic's own `str` refuses them; such a path must still be a key (PEP 383).
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.is_instance_schema(str)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string"}


AnyText = Annotated[str, _AnyText]


def _check_text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("holds a lone surrogate") from None
    return value


Text = Annotated[str, AfterValidator(_check_text)]
"""A `str` that every database and encoder takes. pydantic checks that only where a length is bounded."""

Sha256 = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
ObjectId = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]


class Source(Wire):
    """Who sent an event."""

    service: str
    instance_id: str
    hostname: str | None = None


class Timestamped(Wire):
    """What every envelope has besides its version, metadata and payload."""

    event_id: str
    event_type: str
    correlation_id: str
    causation_id: str | None = None
    timestamp: datetime
    source: Source
