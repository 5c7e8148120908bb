"""Whether a commit is behind another, asked of real hosts of every kind."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from core.git.ancestry import is_behind
from core.git.session import HostSession
from tests.bare_repositories import BareRepository, generated_files
from tests.git_fetching import fetching
from tests.servers.git_http import GitHttpServer


async def asked(tmp_path: Path, url: str, earlier: str, commit: str) -> bool | None:
    def ask(session: HostSession) -> bool | None:
        return is_behind(session, earlier, commit)

    async with fetching(tmp_path / "cache") as of:
        return await of.fetcher.on_host(url, None, ask)


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
async def test_a_commit_is_behind_its_descendants_only(tmp_path: Path, object_format: str) -> None:
    repository = BareRepository(tmp_path / "r.git", object_format=object_format)
    commits = [repository.commit({"a": b"%d" % number}) for number in range(70)]
    other = repository.commit({"a": b"other"}, branch="other", parent=commits[10])
    with GitHttpServer(tmp_path) as server:
        url = server.url("r.git")
        assert await asked(tmp_path, url, commits[69], commits[69])
        assert await asked(tmp_path, url, commits[68], commits[69])
        assert await asked(tmp_path, url, commits[0], commits[69]), "further than the first depth"
        assert await asked(tmp_path, url, commits[10], other)
        for earlier in (commits[11], commits[69], "f" * len(other)):
            assert await asked(tmp_path, url, earlier, other) is False


@pytest.mark.parametrize("host", ["old", "unfiltered"])
async def test_where_it_would_be_dear_it_is_not_known(tmp_path: Path, host: str) -> None:
    repository = BareRepository(tmp_path / "r.git")
    first = repository.commit(dict(generated_files(1500, size=12_000)))
    second = repository.commit({"a": b"2"})
    with ExitStack() as stack:
        config = {"uploadpack.allowFilter": "false"} if host == "unfiltered" else None
        server = stack.enter_context(GitHttpServer(tmp_path, protocol_v2=host != "old", config=config))
        assert await asked(tmp_path, server.url("r.git"), first, second) is None
        assert server.bytes_sent < (1024 if host == "old" else 16 << 20)
