"""v1 events: the bytes are at a path of this machine, if it is the publisher's machine at all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from core.errors import ArchonError, ContentMissing, ContentTooLarge, UnsafeInput
from core.events.request import Carrier, IndexRequest, RequestedFile
from core.fetchers.base import Fetched
from core.safety.path import open_confined, relative_within

HINT = "v1 events carry paths; publish with archon-agent ingest, which sends contents"


class LocalPathFetcher:
    """Reads files below the request's `project_path`, itself below one of `roots`; links are not followed."""

    carrier = Carrier.LOCAL_PATH

    def __init__(self, roots: Sequence[Path], max_bytes: int) -> None:
        self._roots = tuple(root.absolute() for root in roots)
        self._max_bytes = max_bytes

    def refuses(self, request: IndexRequest, file: RequestedFile) -> str | None:
        if request.project_path is None:
            return "a v1 path without project_path"
        project = Path(os.path.normpath(request.project_path))
        if not project.is_absolute() or not any(project.is_relative_to(root) for root in self._roots):
            return "project_path is not below agent.local_roots"
        return None

    async def fetch_many(
        self, request: IndexRequest, files: Sequence[RequestedFile]
    ) -> Sequence[Fetched | ArchonError]:
        return await asyncio.to_thread(lambda: [self._fetch(request, file) for file in files])

    def _fetch(self, request: IndexRequest, file: RequestedFile) -> Fetched | ArchonError:
        project = os.path.normpath(request.project_path or "")
        try:
            descriptor = open_confined(project, _relative(file, project))
            with os.fdopen(descriptor, "rb") as stream:
                content = stream.read(self._max_bytes + 1)
        except ArchonError as error:
            return error
        except OSError as error:
            return ContentMissing(f"its path is not on this machine: {error.strerror}", hint=HINT)
        except ValueError:  # NUL, or a surrogate that stands for no byte, in project_path
            return UnsafeInput("project_path is no path", hint=HINT)
        if len(content) > self._max_bytes:
            return ContentTooLarge(f"more than {self._max_bytes:,} B")
        return Fetched(content)

    async def close(self) -> None: ...


def _relative(file: RequestedFile, project: str) -> str:
    """`file_path` below the project where it is given, else `relative_path`."""
    path = file.file_path or file.relative_path
    return relative_within(project, path) if path.startswith("/") else path
