"""The watch table of archon.toml: branches on Git hosts that are ingested whenever they move."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.settings.option import Duration, Section, option
from core.settings.secret import SecretReference

Interval = Annotated[Duration, Field(ge=1)]


class WatchedRepository(Section):
    """`[[watch.repositories]]`: one branch of one repository, and the project that it is ingested as.

    Without `branch` it is the host's default branch, without `project_name` the repository's own name.
    `credentials_ref` names the secret for the host; `interval` stands in for `watch.interval`.
    """

    git_url: str
    branch: str | None = None
    project_name: str | None = None
    credentials_ref: str | None = None
    interval: Interval | None = None


class WatchSettings(Section):
    """How `archon-agent watch` looks at branches."""

    interval: Interval = option(
        "60s",
        "time between two looks at a branch",
        flag="interval",
        env=("ARCHON_WATCH_INTERVAL",),
        common=True,
    )
    longest_pause: Interval = option("30m", "longest time between two looks after failures in a row")
    ingestions_at_once: Annotated[int, Field(gt=0)] = option(4, "most repositories ingested at once")
    hook_secret: SecretReference | None = option(
        None,
        "where the secret of push hooks is: env:NAME or file:/path; without it hooks are refused",
        secret=True,
    )
    repositories: tuple[WatchedRepository, ...] = ()
