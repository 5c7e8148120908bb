"""Opens what an ingestion reads, and the strategy that refers to a commit of it on a Git host."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from core.events.common import ContentStrategy
from core.git.origin import local_blobs, work_tree_origin
from core.repository.discover import open_repository
from core.repository.facts import Repository
from core.settings import Settings
from core.strategies.git_reference import GitReferenceStrategy, GitSourceStrategy

if TYPE_CHECKING:
    from core.git.fetcher import GitContentFetcher


_BASE_GONE = "overwritten and collected? Without --since, what was published before is compared with"


@dataclass(frozen=True, slots=True)
class RemoteTarget:
    """A repository on a Git host; with `checksums` its files are read, to send their sizes and SHA-256."""

    url: str
    checksums: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """What to ingest: a directory, a commit of a local repository, or one on a Git host.

    `ref` is a branch, tag or commit id, None the files as they are or the host's default branch.
    `credential_ref` names the secret that a consumer needs on the Git host. With `since` only what
    changed after that commit is published. `rebind` says that the project has moved to this source;
    `allow_deletions` is how many files it may lose although that is most of it. `overrides` are the
    user's choices by path, `without` the strategies not to use at all.
    """

    path: Path | RemoteTarget
    ref: str | None = None
    credential_ref: str | None = None
    project_name: str | None = None
    force_reindex: bool = False
    rebind: bool = False
    allow_deletions: float = 0
    since: str | None = None
    overrides: Mapping[str, ContentStrategy] = field(default_factory=dict)
    without: Collection[ContentStrategy] = ()


@dataclass(frozen=True, slots=True)
class OpenedSource:
    """A repository to list, and how its files can be referred to.

    `kind` is `work_tree`, `commit` (of a local repository) or `url`. `preferred` is the strategy
    that the kind of source makes natural. `base` holds the blob ids of the commit to compare with, if
    one was named.
    """

    kind: str
    repository: Repository
    git: GitReferenceStrategy
    preferred: ContentStrategy | None = None
    base: Mapping[str, str] | None = None


async def open_source(
    settings: Settings, target: Target, stack: AsyncExitStack, git: GitContentFetcher | None = None
) -> OpenedSource:
    """Open `target`; `stack` closes it. `git` is a way to Git hosts that is open already.

    Raises `UsageError` for a wrong path, `UnknownRef`, `AccessDenied`, `BackendUnavailable`, ….
    """
    if isinstance(target.path, Path):
        opened = open_repository(
            target.path, ref=target.ref, include_untracked=settings.publish.include_untracked
        )
        repository = stack.enter_context(closing(opened))
        strategy = _work_tree_strategy(settings, target.path, repository, target.credential_ref)
        base = local_blobs(target.path, target.since) if target.since else None
        return OpenedSource("commit" if target.ref else "work_tree", repository, strategy, base=base)
    # dulwich and urllib3 cost 100 ms to import.
    from core.git.errors import UnknownCommit
    from core.git.remote_repository import open_remote, remote_blobs

    fetcher = git
    if fetcher is None:
        fetcher = await open_git(settings)
        stack.push_async_callback(fetcher.close)
    url = target.path.url
    credentials = fetcher.hosts.allow(url, target.credential_ref)
    reads = target.path.checksums or settings.publish.content_strategy in ("inline", "object_storage")
    remote = await open_remote(fetcher, url, target.ref, credentials, reads=reads, lfs=settings.git.lfs)
    stack.enter_context(closing(remote))
    try:
        base = await remote_blobs(fetcher, url, target.since, credentials) if target.since else None
    except UnknownCommit as error:
        raise UnknownCommit(f"--since: {error}", hint=_BASE_GONE) from None
    strategy = GitSourceStrategy(remote.origin)
    return OpenedSource("url", remote, strategy, ContentStrategy.GIT_REFERENCE, base)


def _work_tree_strategy(
    settings: Settings, path: Path, repository: Repository, reference: str | None
) -> GitReferenceStrategy:
    origin = work_tree_origin(path, repository.git_state(), settings.git.url_policy(), reference)
    if isinstance(origin, str):
        return GitReferenceStrategy(origin)
    url = origin.url

    async def check() -> None:
        fetcher = await open_git(settings)
        try:
            credentials = fetcher.hosts.allow(url, reference)
            await fetcher.on_host(url, credentials, lambda session: session.refs(["HEAD"]))
        finally:
            await fetcher.close()

    return GitReferenceStrategy(origin, check)


async def open_git(settings: Settings) -> GitContentFetcher:
    """The way to Git hosts; the caller closes it. Raises `ConfigurationError` or `BackendUnavailable`."""
    from core.git.factory import open_fetcher

    return await open_fetcher(settings.git, settings.clone_cache_dir, attempts=settings.agent.attempts)
