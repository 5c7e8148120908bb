"""What Plan and Run are about: a directory, or a repository on a Git host."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.settings import Settings

if TYPE_CHECKING:
    from core.assembly.source import Target
    from core.events.common import ContentStrategy


@dataclass(frozen=True, slots=True)
class Chosen:
    """A path or Git URL, the name it goes by, and where the secret for its Git host is (never the secret)."""

    where: str
    name: str
    credential_ref: str | None = None

    def target(
        self, overrides: Mapping[str, ContentStrategy], without: Collection[ContentStrategy]
    ) -> Target:
        """What the core is asked to ingest, with the person's choices."""
        from core.assembly.source import RemoteTarget, Target

        return Target(
            RemoteTarget(self.where) if is_url(self.where) else Path(self.where),
            credential_ref=self.credential_ref,
            overrides=dict(overrides),
            without=without,
        )


def chosen(where: str, credential_ref: str | None = None) -> Chosen:
    """`where` under the name that it has by itself."""
    return Chosen(where, name_of(where), credential_ref)


def is_url(where: str) -> bool:
    """Whether `where` names a Git host rather than a directory: a scheme, or the `user@host:path` form."""
    return "://" in where or ("@" in where.partition(":")[0] and ":" in where and not where.startswith("/"))


def name_of(where: str) -> str:
    """The last part of a path or URL, without `.git`."""
    last = where.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return last.removesuffix(".git") or where


def whole(where: str) -> str:
    """`where` as it is remembered: a path from the root on, a URL as it is."""
    return where if is_url(where) else str(Path(where).expanduser().absolute())


def wrong_source(settings: Settings, where: str) -> str | None:
    """What is wrong with a path or Git URL; None where it will do. Raises `UnsafeInput` with the reason."""
    if is_url(where):
        from core.safety.git_url import parse_git_url

        parse_git_url(where, settings.git.url_policy())
        return None
    try:
        path = Path(where).expanduser()
        if path.is_dir():
            return None
        return "that is not a directory" if path.exists() else "there is no such directory"
    except (OSError, RuntimeError, ValueError):  # not ours to look at, no such user, not a path
        return "it cannot be looked at"


def wrong_reference(reference: str) -> str | None:
    """What is wrong with a credential reference. Raises `UsageError`, which does not repeat it."""
    from core.git.origin import check_reference

    check_reference(reference)
    return None
