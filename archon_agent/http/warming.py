"""`POST /api/cache/warm`: fetch ahead the files of an event, or whole repositories."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archon_agent.http.answers import Refused, first_line
from core.agent import Agent
from core.errors import InvalidEvent
from core.events.codec import decode_request, from_json
from core.events.common import Wire
from core.events.v2 import GitCredentials
from core.git.source import RepositoryToWarm
from core.safety.git_url import GIT_URL_LIMIT, REF_LIMIT

MOST_REPOSITORIES = 32


class WarmRepository(BaseModel):
    """A repository to fetch. `git_ref` is a branch, tag or commit id; without it the default branch.

    `credentials` name a secret that the agent's settings allow for exactly this host.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    git_url: Annotated[str, Field(min_length=1, max_length=GIT_URL_LIMIT)]
    git_ref: Annotated[str, Field(min_length=1, max_length=REF_LIMIT)] | None = None
    credentials: GitCredentials | None = None


class WarmRepositories(BaseModel):
    """Repositories whose files are to be in the clone cache."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repositories: Annotated[tuple[WarmRepository, ...], Field(min_length=1, max_length=MOST_REPOSITORIES)]


class WarmedFileReport(Wire):
    """A file of an event that was fetched ahead: its bytes, or why it could not be."""

    path: str
    bytes: int
    reason: str | None = None
    message: str | None = None


class WarmedEventReport(Wire):
    """What fetching an event's files did."""

    files: int
    bytes: int
    failed: int
    results: tuple[WarmedFileReport, ...]


class WarmedRepositoryReport(Wire):
    """A repository's files: `fetched` came now, `missing` are still not here, `bytes` were received.

    `reason`, `message` and `hint` tell what ended it, or went wrong with the first file that is missing.
    """

    git_url: str
    git_ref: str | None
    commit: str | None
    files: int
    fetched: int
    missing: int
    bytes: int
    seconds: float
    reason: str | None = None
    message: str | None = None
    hint: str | None = None


class WarmedRepositoriesReport(Wire):
    """What fetching repositories did; `failed` of them are not here whole."""

    repositories: int
    failed: int
    bytes: int
    results: tuple[WarmedRepositoryReport, ...]


async def warm(agent: Agent, body: bytes, turns: asyncio.Semaphore) -> dict[str, Any]:
    """The report, as JSON; an event takes one of `turns`, repositories have turns of their own.

    Raises `Refused` for a body that is neither an event nor `WarmRepositories`.
    """
    try:
        value = from_json(body)
        if isinstance(value, dict) and "repositories" in value:
            return await _warm_repositories(agent, WarmRepositories.model_validate(value))
        asked = decode_request(body)
    except (ValidationError, InvalidEvent) as error:
        raise Refused(400, first_line(error)) from None
    async with turns:
        results = await agent.warmer.files(asked)
    report = WarmedEventReport(
        files=len(results),
        bytes=sum(result.bytes for result in results),
        failed=sum(result.reason is not None for result in results),
        results=tuple(WarmedFileReport.model_validate(result, from_attributes=True) for result in results),
    )
    return report.model_dump(mode="json")


async def _warm_repositories(agent: Agent, asked: WarmRepositories) -> dict[str, Any]:
    answers = await agent.warmer.repositories(
        [RepositoryToWarm(each.git_url, each.git_ref, each.credentials) for each in asked.repositories]
    )
    report = WarmedRepositoriesReport(
        repositories=len(answers),
        failed=sum(answer.error is not None for answer in answers),
        bytes=sum(answer.bytes for answer in answers),
        results=tuple(WarmedRepositoryReport.model_validate(answer.to_json()) for answer in answers),
    )
    return report.model_dump(mode="json")
