"""What goes into an analysis."""

from __future__ import annotations

from typing import NamedTuple


class FileToAnalyze(NamedTuple):
    """A file's bytes. `language` None is told from path and content.

    `size_bytes` is the whole file's size where `content` is only its beginning.
    """

    path: str
    content: bytes
    language: str | None = None
    size_bytes: int | None = None

    @property
    def complete(self) -> bool:
        """Whether `content` is the whole file."""
        return self.size_bytes is None or self.size_bytes <= len(self.content)
