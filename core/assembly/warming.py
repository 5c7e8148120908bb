"""What fetching ahead takes, without an agent: the caches, and the ways to fill them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from core.assembly.consuming import consuming_fetchers, content_cache_that_opens
from core.assembly.parts import new_breakers
from core.assembly.source import open_git
from core.errors import UsageError
from core.fetchers.git_reference import GitReferenceFetcher
from core.fetchers.resolver import Resolver
from core.git.origin import credentials_for
from core.git.source import RepositoryToWarm, WarmLimits
from core.progress import ignore
from core.safety.git_url import parse_git_url
from core.settings import Settings
from core.warming import Warmer


@asynccontextmanager
async def warming(settings: Settings, named: Sequence[RepositoryToWarm] = ()) -> AsyncIterator[Warmer]:
    """What fills the caches, opened when first needed and closed at the end.

    The credentials of the repositories that a person `named` may be used for the hosts they name.
    """
    cache = await asyncio.to_thread(content_cache_that_opens, settings)
    git = GitReferenceFetcher(partial(open_git, settings))
    resolver = Resolver(
        consuming_fetchers(settings, cache, git),
        breakers=new_breakers(settings, "consumer", ignore),
        patience_s=settings.agent.file_deadline,
    )
    try:
        for repository in named:
            if credentials := repository.credentials:
                (await git.open()).hosts.allow(repository.url, credentials.credential_ref)
        yield Warmer(resolver, git, WarmLimits())
    finally:
        await resolver.close()


def repository_on(settings: Settings, line: str) -> RepositoryToWarm:
    """What a line `URL [REF [CREDENTIAL_REF]]` names. Raises as `repository_to_warm`."""
    words = line.split()
    if not 1 <= len(words) <= 3:
        raise UsageError("give URL, and after it REF and CREDENTIAL_REF if you like")
    url, ref, reference = (*words, None, None)[:3]
    return repository_to_warm(settings, url or "", ref, reference)


def repository_to_warm(
    settings: Settings, url: str, ref: str | None, reference: str | None
) -> RepositoryToWarm:
    """What a person names, checked. Raises UnsafeInput or UsageError."""
    checked = parse_git_url(url, settings.git.url_policy())
    return RepositoryToWarm(str(checked), ref, credentials_for(checked, reference))
