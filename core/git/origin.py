"""Where the files of a work tree can also be had: the commit that its remote is known to have."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.errors import PermanentError, UnsafeInput, UsageError
from core.events.v2 import GitCredentials
from core.git.secret_providers import reference_schemes
from core.repository.facts import GitState
from core.safety.git_url import GitUrl, parse_git_url
from core.safety.url import UrlPolicy

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class GitOrigin:
    """A commit that a Git host is known to have. `url` was checked and carries no secret.

    `blobs` gives its blob ids by path, asked for once and only if needed; None where the files being
    published come from this very commit.
    """

    url: str
    commit: str
    branch: str | None = None
    credentials: GitCredentials | None = None
    blobs: Callable[[], Mapping[str, str]] | None = None


def credentials_for(url: GitUrl, reference: str | None) -> GitCredentials | None:
    """`reference` as a credential of the type that the URL's scheme takes. Raises as `check_reference`."""
    if reference is None:
        return None
    check_reference(reference)
    return GitCredentials(type="ssh_key" if url.scheme == "ssh" else "token", credential_ref=reference)


def check_reference(reference: str) -> None:
    """Raise UsageError, which does not repeat it, for what may be the secret itself."""
    scheme, _, locator = reference.partition(":")
    is_name = scheme != "env" or _VARIABLE.fullmatch(locator)
    if scheme not in reference_schemes() or not locator.isprintable() or not locator or not is_name:
        raise UsageError(
            "that is not a credential reference", hint="name where the secret is: env:NAME or file:/path"
        )


def local_blobs(path: Path, ref: str) -> dict[str, str]:
    """The blob ids of the files below `path` as they were in `ref`. Raises UsageError, PermanentError."""
    from core.repository.discover import open_repository
    from core.repository.git_directory import discover
    from core.repository.pushed import commit_blobs

    with closing(open_repository(path, ref=ref)) as at:
        state = at.git_state()
    git = discover(path.expanduser().resolve())
    if git is None or state is None or state.commit is None:
        return {}
    below = len(state.prefix)
    blobs = commit_blobs(git, state.commit).items()
    return {name[below:]: blob for name, blob in blobs if name.startswith(state.prefix)}


def work_tree_origin(
    path: Path, state: GitState | None, policy: UrlPolicy, reference: str | None
) -> GitOrigin | str:
    """The origin of the repository that `path` lies in, or why it has none; no host is asked."""
    if state is None:
        return "not in a Git repository"
    if state.remote_url is None:
        return "the repository has no remote"
    if state.commit is None:
        return "the repository has no commit"
    from core.repository.git_directory import discover  # dulwich costs 60 ms to import
    from core.repository.git_state import remote_name
    from core.repository.pushed import commit_blobs, pushed_commit

    try:
        url = parse_git_url(state.remote_url, policy)
        git = discover(path.expanduser().resolve())
        commit = pushed_commit(git, state.commit, remote_name(git, state.branch)) if git else None
    except UnsafeInput as error:
        return f"the remote: {error}"
    except PermanentError as error:
        return str(error)
    if git is None or commit is None:
        return "no commit here is known to be on the remote: push, or fetch from it"
    credentials = credentials_for(url, reference)
    return GitOrigin(str(url), commit, state.branch, credentials, partial(commit_blobs, git, commit))
