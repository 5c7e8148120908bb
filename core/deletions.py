"""What a run deletes, and whether it is so much of a project that somebody should look first."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.errors import ArchonError
from core.repository.facts import Skip
from core.safety.display import display

logger = logging.getLogger(__name__)

SMALL_PROJECT = 20
"""A project of at most so many files may lose all but one without a question."""


class MassDeletionHeld(ArchonError):
    """A run would delete most of a project; nothing of it was published. Exit code 1."""

    reason = "mass_deletion_held"

    def __init__(self, message: str, *, deletions: int, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.deletions = deletions


@dataclass(frozen=True, slots=True)
class DeletionLimit:
    """How much of a project may go: `share` (0 to 1) of its files, and never all of them.

    `allowed` is what somebody allowed for this run, in files.
    """

    share: float = 0.5
    allowed: float = 0

    def holds(self, published: int, missing: int) -> bool:
        """Whether `missing` deletions of `published` files are to be held back."""
        if missing <= self.allowed or not missing or self.share >= 1:
            return False
        return missing == published or (published > SMALL_PROJECT and missing > self.share * published)

    def check(self, project: str, where: str, published: int, missing: int) -> None:
        """Raise `MassDeletionHeld` where the deletions are to be held back."""
        if not self.holds(published, missing):
            return
        raise MassDeletionHeld(
            f"{missing:,} of the {published:,} files of {display(project)} are gone from {display(where)}:"
            " nothing was published",
            deletions=missing,
            hint="is everything there (a volume, a checkout)? If they are to go: --allow-deletions"
            f" {missing}; ingest --force-reindex brings back what was deleted by mistake",
        )


NO_LIMIT = DeletionLimit(share=1)


class Recorded(Protocol):
    """What of a project is published."""

    def missing(self) -> Sequence[str]:
        """Recorded paths that this run did not meet."""
        ...

    def recorded(self, paths: Iterable[str]) -> Sequence[str]:
        """Those of `paths` that are recorded."""
        ...

    def count(self) -> int:
        """How many paths are recorded."""
        ...


def deletions(manifest: Recorded, skipped: Sequence[Skip], limit: DeletionLimit) -> tuple[list[str], int]:
    """The paths to delete, and how many records stay although their files were not published.

    A file that cannot be published any more is deleted as one that is gone. Its record stays where a
    backend or the reading failed, and where so many would go that somebody should allow it first.
    """
    gone = list(manifest.missing())
    more = manifest.recorded(skip.path for skip in skipped if skip.is_unpublishable)
    stale = len(manifest.recorded(skip.path for skip in skipped if skip.is_stale))
    if more and limit.holds(manifest.count(), len(gone) + len(more)):
        logger.warning(
            "%d files cannot be published any more and keep their old records: so many are deleted only with"
            " --allow-deletions %d",
            len(more),
            len(gone) + len(more),
        )
        return gone, stale + len(more)
    return [*gone, *more], stale
