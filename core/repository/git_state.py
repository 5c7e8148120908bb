"""Where a repository stands: commit, branch and remote."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from dulwich.refs import HEADREF, SymrefLoop

from core.errors import PermanentError
from core.repository.facts import GitState
from core.repository.git_directory import GitDirectory
from core.safety.path import from_bytes, to_bytes

_BRANCH = b"refs/heads/"
_HEX = re.compile(rb"[0-9a-f]{40}|[0-9a-f]{64}")


def git_state(
    git: GitDirectory, *, prefix: str = "", commit: str | None = None, ref: str | None = None
) -> GitState:
    """The state of HEAD, or of `commit` which `ref` named.

    Raises PermanentError if HEAD is corrupt.
    """
    if commit is None or ref == "HEAD":
        commit, branch = _head(git)
    else:
        branch = ref if ref and git.resolve(_BRANCH + to_bytes(ref)) else None
    return GitState(commit, branch, remote_url(git, branch), prefix)


def _head(git: GitDirectory) -> tuple[str | None, str | None]:
    try:
        chain, commit = git.refs.follow(HEADREF)
    except (SymrefLoop, KeyError, ValueError, OSError):
        raise PermanentError("the repository's HEAD is corrupt", hint="see `git symbolic-ref HEAD`") from None
    if commit is not None and not _HEX.fullmatch(commit):
        raise PermanentError("the repository's HEAD names no commit", hint="see `git rev-parse HEAD`")
    last = chain[-1]
    branch = from_bytes(last.removeprefix(_BRANCH)) if last.startswith(_BRANCH) else None
    return (commit.decode() if commit else None), branch


def remote_name(git: GitDirectory, branch: str | None) -> str:
    """The remote that `git fetch` would use on `branch`."""
    name = _value(git, (b"branch", to_bytes(branch)), b"remote") if branch else None
    return from_bytes(name or b"origin")


def remote_url(git: GitDirectory, branch: str | None) -> str | None:
    """The URL that `git fetch` would use on `branch`, without secrets; None if there is no remote."""
    url = _value(git, (b"remote", to_bytes(remote_name(git, branch))), b"url")
    return without_secrets(from_bytes(url)) if url else None


def without_secrets(url: str) -> str:
    """`url` without password, query and fragment; a user name stays only where SSH needs it."""
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
        user = f"{parts.username}@" if parts.scheme == "ssh" and parts.username else ""
        _, _, host = parts.netloc.rpartition("@")
    except ValueError:
        return url.partition("://")[0] + "://"
    return urlunsplit((parts.scheme, user + host, parts.path, "", ""))


def _value(git: GitDirectory, section: tuple[bytes, ...], name: bytes) -> bytes | None:
    try:
        return git.config.get(section, name)
    except KeyError:
        return None
