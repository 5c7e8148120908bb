"""From what a person writes (branch, tag, short or full commit id) to one commit on a Git host."""

from __future__ import annotations

from dataclasses import dataclass

from core.events.v2 import GitCredentials
from core.git.errors import UnknownRef
from core.git.fetcher import GitContentFetcher
from core.git.session import FetchSession
from core.git.source import GitSource
from core.safety.display import display
from core.safety.git_url import check_ref_name, is_abbreviated_commit, is_commit

_HEADS = "refs/heads/"


@dataclass(frozen=True, slots=True)
class ResolvedRef:
    """A commit, and the branch it was the tip of, if a branch was named."""

    commit: str
    branch: str | None = None


async def resolve_ref(
    fetcher: GitContentFetcher, url: str, ref: str | None, credentials: GitCredentials | None
) -> ResolvedRef:
    """The commit that `ref` names now; None is the host's default branch.

    A branch goes before a tag of the same name, both before an abbreviated id. Raises `UnknownRef`, or
    what reaching the host raises.
    """
    if ref is not None and is_commit(ref):
        return ResolvedRef(ref)
    names = ["HEAD"] if ref is None else _candidates(check_ref_name(ref))
    refs = await fetcher.on_host(url, credentials, lambda session: session.refs(names))
    for name in names:
        if commit := refs.commit(name):
            branch = (refs.head if name == "HEAD" else name) or ""
            return ResolvedRef(commit, branch.removeprefix(_HEADS) if branch.startswith(_HEADS) else None)
    if ref is None:
        raise UnknownRef("the repository has no commit on its default branch")
    if is_abbreviated_commit(ref):
        return ResolvedRef(await _expand(fetcher, url, ref, credentials))
    raise UnknownRef(f"the repository has no branch, tag or commit {display(ref, 80)}")


def _candidates(ref: str) -> list[str]:
    own = [ref] if ref.startswith("refs/") or ref == "HEAD" else []
    return [*own, f"{_HEADS}{ref}", f"refs/tags/{ref}"]


async def _expand(
    fetcher: GitContentFetcher, url: str, prefix: str, credentials: GitCredentials | None
) -> str:
    """The one commit whose id begins with `prefix`: among the tips, else in the whole history."""
    refs = await fetcher.on_host(
        url, credentials, lambda session: session.refs(["HEAD", _HEADS, "refs/tags/"])
    )
    tips = sorted({commit for name in refs.ids if (commit := refs.commit(name))})
    if not tips:
        raise UnknownRef("the repository has no commits")
    found = [tip for tip in tips if tip.startswith(prefix)]
    if not found:
        source = GitSource(url, tips[0], credentials=credentials)
        found = await fetcher.in_clone(source, lambda session: _search(session, tips, prefix))
    if len(found) == 1:
        return found[0]
    problem = "ambiguous" if found else "no commit that a branch or tag reaches"
    raise UnknownRef(f"{prefix} is {problem}", hint="give the full commit id")


def _search(session: FetchSession, tips: list[str], prefix: str) -> list[str]:
    session.refs(["HEAD"])
    if session.remote.protocol_version != 2:
        # Without a filter all of history would come with all its files.
        raise UnknownRef(
            f"{session.host} cannot look up the short id {prefix}", hint="give the full commit id"
        )
    session.history(tips)
    return session.clone.packs.commits_starting(prefix)
