"""Git reference: the event names a repository, a commit and a blob; the bytes stay on the Git host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from core.errors import ArchonError
from core.events.common import ContentStrategy
from core.git.origin import GitOrigin
from core.repository.facts import FileFacts
from core.strategies.base import Feasibility, PublishContext, SourceFile

Check = Callable[[], Awaitable[None]]


class GitReferenceStrategy:
    """Refers to files of a work tree as they are in a commit that the remote has; or says why it cannot.

    `check` asks the host once, before the first file is packed, whether a consumer with the origin's
    credentials could read there at all; what it raises makes another strategy stand in.
    """

    name = ContentStrategy.GIT_REFERENCE

    def __init__(self, origin: GitOrigin | str, check: Check | None = None) -> None:
        self._origin = origin
        self._check = check
        self._refusal: ArchonError | None = None
        self._unread: str | None = None
        self._blobs: Mapping[str, str] | None = None
        self._checking = asyncio.Lock()

    async def prepare(self, context: PublishContext) -> dict[str, Any]:
        if isinstance(self._origin, str):
            return {}
        return {
            "git_url": self._origin.url,
            "git_ref": self._origin.commit,
            "git_branch": self._origin.branch,
            "git_credentials": self._origin.credentials,
        }

    def feasible(self, facts: FileFacts, context: PublishContext) -> Feasibility:
        origin = self._origin
        if isinstance(origin, str):
            return Feasibility(False, origin)
        blob = facts.entry.blob
        if blob is None:
            return Feasibility(
                False, "changed since it was committed, or too recently to tell", temporary=True
            )
        if origin.blobs is None:
            return Feasibility(True, f"in commit {origin.commit[:12]}")
        if self._unread:
            return Feasibility(False, self._unread, temporary=True)
        if self._blobs is None:
            try:
                self._blobs = origin.blobs()
            except ArchonError as error:
                self._unread = str(error)
                return Feasibility(False, self._unread, temporary=True)
        prefix = context.git.prefix if context.git else ""
        there = self._blobs.get(prefix + facts.path)
        if there is None:
            return Feasibility(
                False, f"not in {origin.commit[:12]}, the newest commit the remote has", temporary=True
            )
        if there != blob:
            return Feasibility(
                False, f"differs from {origin.commit[:12]}, the newest commit the remote has", temporary=True
            )
        return Feasibility(True, f"as in commit {origin.commit[:12]}, which the remote has")

    async def pack(self, file: SourceFile, context: PublishContext) -> dict[str, Any]:
        async with self._checking:
            if self._check:
                check, self._check = self._check, None
                try:
                    await check()
                except ArchonError as error:
                    self._refusal = error
        if self._refusal:
            raise self._refusal
        return {"git_blob": file.facts.entry.blob}

    async def close(self) -> None: ...


class GitSourceStrategy(GitReferenceStrategy):
    """Refers to files of the very commit that is ingested from its host; nothing is left to ask.

    A file that was not read carries no checksum: its blob id stands in, against which the consumer
    verifies the bytes before it computes their SHA-256.
    """

    def __init__(self, origin: GitOrigin) -> None:
        super().__init__(origin)

    def pack_now(self, file: SourceFile) -> dict[str, Any]:
        return {"git_blob": file.facts.entry.blob}
