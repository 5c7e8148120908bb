"""What is checked before a project is published: its source, and how much of it would go."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.deletions import DeletionLimit
from core.errors import UsageError
from core.manifest import SqliteManifest
from core.project import ProjectSource
from core.repository.facts import Repository, Skip
from core.safety.display import display


@dataclass(frozen=True, slots=True)
class ProjectGuard:
    """Stands before the first event of a run. `where` is the directory or URL as it was given."""

    manifest: SqliteManifest
    source: ProjectSource
    limit: DeletionLimit
    project: str
    where: str

    async def check(self, repository: Repository) -> int:
        """The number of deletions that a run would publish.

        Raises `MassDeletionHeld` where they are to be held back, `UsageError` where the directory is empty
        although the project has files.
        """
        published = await asyncio.to_thread(self.manifest.count)
        if not published:
            return 0
        missing = await asyncio.to_thread(self.manifest.count_missing, repository.entries())
        directory = Path(self.source.directory) if self.source.directory else None
        if missing == published > self.limit.allowed and directory and _is_empty(directory):
            what = "an empty mount point" if directory.is_mount() else "empty"
            raise UsageError(
                f"{display(str(directory))} is {what}, but {display(self.project)} has {published:,} files",
                hint="is the volume mounted, did the checkout fail? To delete the project's files:"
                f" --allow-deletions {missing}",
            )
        self.limit.check(self.project, self.where, published, missing)
        return missing

    async def unpublishable(self, skipped: Sequence[Skip]) -> int:
        """How many published files a run would delete because it cannot publish them any more."""
        paths = [skip.path for skip in skipped if skip.is_unpublishable]
        return len(await asyncio.to_thread(self.manifest.recorded, paths))

    async def passed(self) -> None:
        """The run goes on: the project is bound to its source, and an allowance is used up."""
        await asyncio.to_thread(self.manifest.bind, self.source)
        await asyncio.to_thread(self.manifest.allow_deletions, False)


def _is_empty(directory: Path) -> bool:
    return not any(entry.name != ".git" for entry in directory.iterdir())
