"""What a message says, for people: decoded, without file contents and signed links."""

from __future__ import annotations

from typing import Any

from core.errors import InvalidEvent
from core.events.codec import from_json
from core.safety.display import display
from core.safety.redact import redact

# A stranger's event may be nested as deep as it likes; no event of ours goes beyond six.
DEPTH = 32
TEXT_LIMIT = 2000
ELIDED = frozenset({"content", "content_url"})


def preview(value: bytes | None) -> Any:
    """The JSON of a message with contents and links elided and secrets scrubbed.

    Bytes that are no JSON come as one line of text, None for a tombstone.
    """
    if value is None:
        return None
    try:
        return _shown(from_json(value), DEPTH)
    except (InvalidEvent, RecursionError):
        return display(redact(value[: 4 * TEXT_LIMIT].decode("utf-8", "surrogateescape")), limit=TEXT_LIMIT)


def _shown(data: Any, depth: int) -> Any:
    if isinstance(data, str):
        return redact(data)
    if not isinstance(data, dict | list):
        return data
    if depth == 0:
        return "…"
    if isinstance(data, list):
        return [_shown(item, depth - 1) for item in data]
    return {
        key: f"<{len(value):,} characters>"
        if key in ELIDED and isinstance(value, str)
        else _shown(value, depth - 1)
        for key, value in data.items()
    }
