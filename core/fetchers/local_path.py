"""v1 events: the bytes are at a path of this machine, if it is the publisher's machine at all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from core.errors import ArchonError, ContentMissing, ContentTooLarge, UnsafeInput
from core.events.request import Carrier, IndexRequest, RequestedFile
from core.fetchers.base import Fetched
from core.safety.display import display
from core.safety.path import open_confined, relative_within

HINT = "v1 events carry paths; publish with archon-agent ingest, which sends contents"


KERNEL = ("/proc", "/sys", "/dev")
"""What looks like files there is the state of this machine and its processes."""


class LocalPathFetcher:
    """Reads files below the request's `project_path`, which is one of `roots` or below one.

    Only a root itself may be, or lie behind, a symbolic link: below it every component of the project's
    and the file's path is opened from its parent without following links.
    """

    carrier = Carrier.LOCAL_PATH

    def __init__(self, roots: Callable[[], Sequence[Path]], max_bytes: int) -> None:
        """`roots` is asked for every request: directories may become roots meanwhile."""
        self._roots = roots
        self._max_bytes = max_bytes

    def refuses(self, request: IndexRequest, file: RequestedFile) -> str | None:
        if request.project_path is None:
            return "a v1 path without project_path"
        try:
            found = self._root_of(request.project_path)
        except ValueError:
            return "project_path is no path"
        return None if found else "project_path is not below agent.local_roots"

    def _root_of(self, project_path: str) -> tuple[Path, str] | None:
        """The resolved root that a project lies in, and the project's path below it."""
        project = os.path.normpath(project_path)
        if not project.startswith("/"):
            return None
        for root in self._roots():
            real = root.resolve()
            for known in dict.fromkeys((root.absolute(), real)):
                if Path(project).is_relative_to(known):
                    below = Path(project).relative_to(known).as_posix()
                    return (real, below) if not _is_kernels(real / below) else None
        return None

    async def fetch_many(
        self, request: IndexRequest, files: Sequence[RequestedFile]
    ) -> Sequence[Fetched | ArchonError]:
        return await asyncio.to_thread(lambda: [self._fetch(request, file) for file in files])

    def _fetch(self, request: IndexRequest, file: RequestedFile) -> Fetched | ArchonError:
        project = os.path.normpath(request.project_path or "")
        try:
            found = self._root_of(project)
            if found is None:
                return UnsafeInput("project_path is not below agent.local_roots", hint=HINT)
            root, below = found
            relative = _relative(file, project)
            path = relative if below == "." else f"{below}/{relative}"
            if _is_kernels(root / path):
                return UnsafeInput(f"{display(path)} is not a file of a repository")
            descriptor = open_confined(root, path)
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


def _is_kernels(path: Path) -> bool:
    return any(path.is_relative_to(place) for place in KERNEL)


def _relative(file: RequestedFile, project: str) -> str:
    """`file_path` below the project where it is given, else `relative_path`."""
    path = file.file_path or file.relative_path
    return relative_within(project, path) if path.startswith("/") else path
