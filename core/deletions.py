"""Whether a run deletes so much of a project that somebody should look first."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import ArchonError
from core.safety.display import display

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
