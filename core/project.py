"""Which source a project is fed from, so that two sources never write one project by mistake."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from core.errors import UsageError
from core.repository.facts import GitState
from core.safety.display import display
from core.safety.redact import redact

NAME_LIMIT = 100

_UNFIT = re.compile(r"[^\w. /-]+")
_SCP = re.compile(r"(?:[^@/]*@)?(?P<host>\[[^\]]+\]|[^:/]+):(?P<path>(?!//).+)")


@dataclass(frozen=True, slots=True)
class ProjectSource:
    """What a project is made of.

    `identity` is `git:HOST/PATH`, the remote without scheme, user and `.git`, or `dir:/path` where there
    is no remote. `directory` is the local directory, if it is read from one.
    """

    identity: str
    directory: str | None = None

    def is_same(self, other: ProjectSource) -> bool:
        """Whether both are one project. A directory stays the same when it is given a remote."""
        if self.identity == other.identity:
            return True
        gained = other.identity == f"dir:{other.directory}" and self.identity.startswith("git:")
        return gained and self.directory == other.directory

    def __str__(self) -> str:
        return display(redact(self.identity.partition(":")[2]))


def source_of(path: Path | str, state: GitState | None) -> ProjectSource:
    """The source at `path`: a directory, or the URL of a repository on a Git host."""
    if isinstance(path, str):
        return ProjectSource(_remote(path))
    directory = str(path.expanduser().resolve())
    if state and state.remote_url:
        below = f"//{state.prefix.rstrip('/')}" if state.prefix else ""
        return ProjectSource(_remote(state.remote_url) + below, directory)
    return ProjectSource(f"dir:{directory}", directory)


def default_name(source: ProjectSource, fallback: str) -> str:
    """`owner/name` of the remote (and the directory below it), else `fallback`, the directory's name."""
    if source.identity.startswith("git:") and "/" in source.identity:
        path, _, below = source.identity.removeprefix("git:").partition("/")[2].partition("//")
        name = "/".join([*path.split("/")[-2:], *filter(None, [below])])
        if valid := _valid(name):
            return valid
    return _valid(fallback) or "project"


def checked_name(given: str) -> str:
    """`given` as a project's name. Raises `UsageError` unless it has 1 to 100 printable characters."""
    if not 1 <= len(given) <= NAME_LIMIT or not given.isprintable():
        raise UsageError(f"a project name has 1 to {NAME_LIMIT} printable characters")
    return given


def directory_name(name: str) -> str:
    """The default name of a project before it was taken from the remote."""
    return _valid(name.replace("/", "-")) or "project"


def _valid(name: str) -> str:
    return _UNFIT.sub("-", name).strip("-/")[:NAME_LIMIT]


def _remote(url: str) -> str:
    """A remote's URL without what differs between ways to reach it: scheme, user, `.git`, default port."""
    if "://" not in url and (match := _SCP.fullmatch(url)):
        host, path = match["host"], match["path"]
    else:
        parts = urlsplit(url)
        host, path = parts.netloc.rpartition("@")[2], parts.path
    path = unquote(path).strip("/").removesuffix(".git")
    host = re.sub(r":(443|22|80)$", "", host.lower())
    return f"git:{host}/{path}" if host else f"git:/{path}"


def refuse_other(name: str, bound: ProjectSource, given: ProjectSource) -> None:
    """Raise `UsageError` where the project `name`, bound to one source, would be fed from another."""
    if given.is_same(bound):
        return
    shown = display(name)
    if bound.directory and bound.directory == given.directory and bound.identity.startswith("git:"):
        directory = display(bound.directory)
        raise UsageError(
            f"{shown} is fed from the Git repository {bound}, but {directory} is not one any more",
            hint="is the volume mounted, is .git there? --rebind if the project is a plain directory now",
        )
    raise UsageError(
        f"the project {shown} is fed from {bound}, not from {given}",
        hint="--project-name NAME makes another project, --rebind says that the project has moved here",
    )
