"""From a Git host through the log to records: nothing but URL, commit and blob ids travels."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.assembly.consuming import consuming
from core.assembly.publishing import ingestion
from core.assembly.source import RemoteTarget, Target
from core.assembly.stores import open_index, open_log
from core.dry_run import dry_run
from core.errors import UsageError
from core.events.codec import decode_request
from core.events.common import ContentStrategy
from core.events.request import Carrier, IndexRequest
from core.events.topics import REQUESTED_V2
from core.fetchers.base import HELD_LIMIT, HELD_UNTOLD
from core.fetchers.resolver import git_blob_id
from core.git.clone_cache import CloneCache
from core.git.errors import MissingBlob, UnknownRef
from core.git.source import GitContent, GitSource, LetGo, Wanted
from core.planner import PlannedFile
from core.progress import FallbackUsed, FileResolved, RunEvent
from core.repository.facts import SkipReason
from core.settings import Settings, load
from core.summary import IngestSummary
from tests.bare_repositories import BareRepository, Content, Link, Submodule, generated_files
from tests.git_fetching import fetching
from tests.repositories import git, write
from tests.servers.git_http import GitHttpServer

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12\n"
FILES = {
    **dict(generated_files(30, size=400)),
    "app.py": b"def main():\n    return 1\n",
    "tests/test_app.py": b"def test():\n    assert True\n",
    "logo.png": bytes(range(256)),
    "gen/out.py": b"x = 1\n",
    "bad\udcff.py": b"y = 2\n",
    ".gitattributes": b"gen/* linguist-generated\n*.bin filter=lfs diff=lfs merge=lfs -text\n",
}


@pytest.fixture
def repository(tmp_path: Path) -> BareRepository:
    (tmp_path / "served").mkdir()
    return BareRepository(tmp_path / "served" / "shop.git")


@pytest.fixture
def server(tmp_path: Path, repository: BareRepository) -> Iterator[GitHttpServer]:
    with GitHttpServer(tmp_path / "served") as running:
        yield running


def settings(home: Path, **flags: Any) -> Settings:
    given = {"git.schemes": "https,ssh,http,file", "git.networks": "127.0.0.0/8", "agent.workers": 1}
    return load(
        {"home": home, "log.partitions": 1, **given, **flags}, environ={"CONTENT_STORAGE_PROVIDER": "none"}
    ).settings


async def ingest(configured: Settings, target: Target, events: list[RunEvent] | None = None) -> IngestSummary:
    listener = events.append if events is not None else lambda _event: None
    async with ingestion(configured, target, listener=listener) as job:
        return await job.publisher.publish(job.planner.stream())


async def published(configured: Settings) -> list[IndexRequest]:
    async with open_log(configured) as log:
        return [decode_request(message.value) async for message in log.browse(REQUESTED_V2)]


async def consume(configured: Settings) -> tuple[Any, list[RunEvent]]:
    events: list[RunEvent] = []
    async with consuming(configured, listener=events.append, service=False) as agent:
        return await agent.run(drain=True, stop=asyncio.Event()), events


async def records(configured: Settings) -> dict[str, Any]:
    async with open_index(configured) as index:
        return {record.file.path: record async for record in index.records()}


async def test_nothing_but_ids_travels_and_every_file_gets_its_record(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    unpublished: dict[str, Content] = {
        "link": Link("app.py"),
        "module": Submodule("1" * 40),
        "large.bin": LFS,
    }
    commit = repository.commit({**FILES, **unpublished})
    configured = settings(tmp_path / "home")
    summary = await ingest(configured, Target(RemoteTarget(server.url("shop.git"))))
    assert summary.project_name == "shop"
    assert summary.files_published == len(FILES)
    reasons = {skip.path: skip.reason for skip in summary.skipped}
    assert reasons == {
        "link": SkipReason.SYMLINK,
        "module": SkipReason.SUBMODULE,
        "large.bin": SkipReason.LFS_POINTER,
    }
    assert not summary.faults
    assert not [seen for seen in server.seen if repository.blob("app.py").encode() in seen.body], "unread"
    (request,) = await published(configured)
    assert (request.git_url, request.git_ref, request.git_branch) == (server.url("shop.git"), commit, "main")
    for file in request.files:
        assert file.carrier is Carrier.GIT_REFERENCE
        assert file.git_blob == git_blob_id(FILES[file.relative_path], 40)
        assert (file.content, file.checksum, file.size_bytes, file.last_modified) == (None, None, None, None)
    languages = {file.relative_path: file.language for file in request.files}
    assert (languages["app.py"], languages["logo.png"]) == ("python", None)
    asked = len(server.seen)
    run, events = await consume(configured)
    assert run.files_processed == len(FILES)
    assert len(server.seen) - asked <= 3, "what the host can do, and all files at once"
    found = await records(configured)
    assert found.keys() == FILES.keys()
    resolved = [event for event in events if isinstance(event, FileResolved)]
    assert {event.source for event in resolved} == {"git_reference"}


async def test_the_next_ingestion_publishes_what_changed(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    repository.commit(FILES)
    configured = settings(tmp_path / "home")
    target = Target(RemoteTarget(server.url("shop.git")))
    await ingest(configured, target)
    again = await ingest(configured, target)
    assert (again.files_published, again.files_unchanged) == (0, len(FILES))
    changes: dict[str, Content] = {"app.py": b"def main(): pass\n", "gen/out.py": None, "new.py": b"z = 3\n"}
    second = repository.commit(changes)
    third = await ingest(configured, target)
    assert (third.files_published, third.files_deleted) == (2, 1)
    *_, changed, deleted = await published(configured)
    assert {file.relative_path for file in changed.files} == {"app.py", "new.py"}
    assert changed.git_ref == second
    assert deleted.deleted_files == ("gen/out.py",)
    overwritten = repository.commit({"app.py": b"pass\n"}, parent=None)
    fourth = await ingest(configured, target)
    assert (fourth.files_published, fourth.files_deleted) == (1, len(FILES) - 1)
    assert (await published(configured))[-2].git_ref == overwritten
    await consume(configured)
    assert (await records(configured)).keys() == {"app.py"}


@pytest.mark.parametrize("kind", ["branch", "tag", "annotated tag", "full id", "short id", "ref"])
async def test_a_ref_may_be_given_in_every_form(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer, kind: str
) -> None:
    wanted = repository.commit({"app.py": b"old = 1\n"})
    repository.commit({"app.py": b"new = 1\n"})
    if kind in {"branch", "ref"}:
        repository.git("branch", "release/1", wanted)
    elif kind == "tag":
        repository.git("tag", "v1", wanted)
    elif kind == "annotated tag":
        repository.git("-c", "user.name=t", "-c", "user.email=t@x", "tag", "-a", "-m", "m", "v1", wanted)
    named = {"branch": "release/1", "ref": "refs/heads/release/1", "full id": wanted, "short id": wanted[:9]}
    configured = settings(tmp_path / "home")
    await ingest(configured, Target(RemoteTarget(server.url("shop.git")), ref=named.get(kind, "v1")))
    (request,) = await published(configured)
    assert request.git_ref == wanted
    assert request.git_branch == ("release/1" if kind in {"branch", "ref"} else None)


async def test_a_ref_that_is_not_there_is_said(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    first = repository.commit({"app.py": b"1\n"})
    configured = settings(tmp_path / "home")
    absent = "dead" if not first.startswith("dead") else "beef"
    for ref in ("nope", absent, "v1"):
        with pytest.raises(UnknownRef):
            await ingest(configured, Target(RemoteTarget(server.url("shop.git")), ref=ref))
    empty = BareRepository(tmp_path / "served" / "empty.git")
    assert empty
    with pytest.raises(UnknownRef, match="no commit"):
        await ingest(configured, Target(RemoteTarget(server.url("empty.git"))))


@pytest.mark.parametrize("strategy", ["auto", "inline"])
async def test_files_are_read_where_that_is_asked_for(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer, strategy: str
) -> None:
    repository.commit({**FILES, "large.bin": LFS})
    configured = settings(tmp_path / "home", **{"publish.content_strategy": strategy})
    summary = await ingest(configured, Target(RemoteTarget(server.url("shop.git"), checksums=True)))
    assert summary.files_published == len(FILES)
    assert summary.bytes == sum(map(len, FILES.values()))
    (request,) = await published(configured)
    for file in request.files:
        assert file.size_bytes == len(FILES[file.relative_path])
        assert file.checksum
        assert file.carrier == ("inline" if strategy == "inline" else "git_reference")
    run, _ = await consume(configured)
    assert run.files_processed == len(FILES)


async def test_since_publishes_the_delta_between_two_commits(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    first = repository.commit(FILES)
    repository.git("tag", "v1", first)
    repository.commit({"app.py": b"pass\n", "gen/out.py": None})
    configured = settings(tmp_path / "home")
    summary = await ingest(configured, Target(RemoteTarget(server.url("shop.git")), since="v1"))
    assert (summary.files_published, summary.files_deleted) == (1, 1)
    assert summary.files_unchanged == len(FILES) - 2


async def test_plan_shows_what_is_not_known_as_unknown(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    repository.commit(FILES)
    seen: list[PlannedFile] = []
    async with ingestion(settings(tmp_path / "home"), Target(RemoteTarget(server.url("shop.git")))) as job:
        summary = await dry_run(job.planner.stream(), job.project_name, job.rules, each=seen.append)
    assert summary.files_published == len(FILES)
    assert {item.facts.entry.known_size for item in seen} == {None}
    assert {item.facts.is_generated for item in seen if item.facts.path.startswith("gen/")} == {True}
    assert all(item.encoded for item in seen)


class Workplace:
    """A work tree cloned from the served repository."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.settled = 0
        git(path.parent, "clone", "-q", url, str(path))
        self.settle()

    def settle(self) -> None:
        """Let no file look as if it changed in the very moment in which the index was written."""
        minute = 60_000_000_000
        now = time.time_ns()
        self.settled += 1  # git looks at whole seconds
        for path in self.path.iterdir():
            if path.is_file():
                os.utime(path, ns=(now - self.settled * minute, now - self.settled * minute))
        git(self.path, "update-index", "-q", "--refresh")
        os.utime(self.path / ".git" / "index", ns=(now + minute, now + minute))

    async def verdicts(self, configured: Settings) -> dict[str, str]:
        found: dict[str, str] = {}
        async with ingestion(configured, Target(self.path)) as job:

            def note(item: PlannedFile) -> None:
                verdict = job.planner.verdicts(item.facts)[ContentStrategy.GIT_REFERENCE]
                found[item.facts.path] = f"{'yes' if verdict.feasible else 'no'}: {verdict.why}"

            await dry_run(job.planner.stream(), job.project_name, job.rules, each=note)
        return found


async def test_a_work_tree_refers_to_what_its_remote_has_and_says_why_not(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    repository.commit({"same.py": b"same = 1\n", "changed.py": b"old = 1\n", "ahead.py": b"pushed = 1\n"})
    place = Workplace(tmp_path / "work", server.url("shop.git"))
    write(place.path, {"ahead.py": b"pushed = 0\n", "local.py": b"local = 1\n"})
    git(place.path, "add", ".")
    git(place.path, "commit", "-qm", "not pushed")
    place.settle()
    write(place.path, {"changed.py": b"new = 1\n"})
    configured = settings(tmp_path / "home")
    asked = len(server.seen)
    verdicts = await place.verdicts(configured)
    assert len(server.seen) == asked, "a plan asks no host"
    assert "yes: as in commit" in verdicts["same.py"]
    assert "no: differs from" in verdicts["ahead.py"]
    assert "no: not in" in verdicts["local.py"]
    assert verdicts["changed.py"] == "no: changed since it was committed, or too recently to tell"
    git(place.path, "remote", "remove", "origin")
    assert (await place.verdicts(configured))["same.py"] == "no: the repository has no remote"
    git(place.path, "remote", "add", "origin", "/srv/shop.git")
    assert "is not a Git URL" in (await place.verdicts(configured))["same.py"]
    git(place.path, "remote", "set-url", "origin", "https://user:hidden-word@git.example.com/shop.git")
    verdict = (await place.verdicts(configured))["same.py"]
    assert verdict == "no: no commit here is known to be on the remote: push, or fetch from it"


async def test_large_files_of_a_work_tree_go_by_reference(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    text = b"".join(b"line %d\n" % number for number in range(20_000))
    commit = repository.commit({"large.txt": text, "small.py": b"x = 1\n"})
    place = Workplace(tmp_path / "work", server.url("shop.git"))
    configured = settings(tmp_path / "home")
    summary = await ingest(configured, Target(place.path))
    assert {name: totals.files for name, totals in summary.by_strategy.items()} == {
        "inline": 1,
        "git_reference": 1,
    }
    (request,) = await published(configured)
    assert request.git_ref == commit
    run, _ = await consume(configured)
    assert run.files_processed == 2


async def test_a_remote_that_cannot_be_read_makes_another_strategy_stand_in(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    text = b"".join(b"line %d\n" % number for number in range(20_000))
    repository.commit({"large.txt": text, "other.txt": text[::-1]})
    place = Workplace(tmp_path / "work", server.url("shop.git"))
    server.tokens["shop.git"] = "token-nobody-has"
    configured = settings(tmp_path / "home", **{"storage.provider": "local"})
    events: list[RunEvent] = []
    asked = len(server.seen)
    summary = await ingest(configured, Target(place.path), events)
    assert summary.files_published == 2
    assert dict(summary.fallbacks) == {"git_reference -> object_storage: access_denied": 2}
    assert [event.cause for event in events if isinstance(event, FallbackUsed)] == ["access_denied"] * 2
    assert len(server.seen) - asked == 1, "asked once, not once a file"


async def test_the_consumer_falls_back_to_git_for_content_that_was_lost(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    text = b"".join(b"line %d\n" % number for number in range(20_000))
    repository.commit({"large.txt": text})
    place = Workplace(tmp_path / "work", server.url("shop.git"))
    configured = settings(
        tmp_path / "home", **{"storage.provider": "local", "publish.content_strategy": "object_storage"}
    )
    await ingest(configured, Target(place.path))
    for path in (tmp_path / "home").rglob("projects/**/*"):
        if path.is_file():
            path.unlink()
    run, events = await consume(configured)
    assert run.files_processed == 1
    used = [event for event in events if isinstance(event, FallbackUsed)]
    assert [(event.wanted, event.used) for event in used] == [("object_storage", "git_reference")]


async def test_since_in_a_work_tree(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    repository.commit({"a.py": b"a = 1\n", "b.py": b"b = 1\n", "c.py": b"c = 1\n"})
    place = Workplace(tmp_path / "work", server.url("shop.git"))
    git(place.path, "rm", "-q", "b.py")
    place.settle()
    write(place.path, {"a.py": b"a = 2\n"})
    configured = settings(tmp_path / "home")
    summary = await ingest(configured, Target(place.path, since="HEAD"))
    assert (summary.files_published, summary.files_unchanged, summary.files_deleted) == (1, 1, 1)
    with pytest.raises(UsageError):
        await ingest(configured, replace(Target(place.path), since="nope"))


async def test_a_fetch_is_counted_where_it_crosses_the_network_and_a_warm_clone_costs_nothing(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    repository.commit(FILES)
    url, before = server.url("shop.git"), 0.0
    for name in ("first", "second"):
        await ingest(settings(tmp_path / "home"), Target(RemoteTarget(url), project_name=name))
        async with consuming(settings(tmp_path / "home"), service=False) as agent:
            await agent.run(drain=True, stop=asyncio.Event())
            value = agent.metrics.registry.get_sample_value
            fetches = value("archon_git_clone_duration_seconds_count")
            moved = value("archon_git_clone_bytes_total") or 0
            hits = value("archon_cache_hits_total", {"cache_type": "git"}) or 0
        if name == "first":
            assert fetches == 1
            assert moved > 0
            before = hits
        else:
            assert (fetches, moved) == (0, 0)
            assert hits - before >= len(FILES)


async def test_more_than_may_be_held_is_read_in_turns_and_counted_once(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    rng = random.Random(4)
    files = {f"part{number}.bin": rng.randbytes(HELD_UNTOLD // 3) for number in range(9)}
    files["large.bin"] = rng.randbytes(HELD_LIMIT + 1)
    repository.commit(files)
    configured = settings(tmp_path / "home")
    await ingest(configured, Target(RemoteTarget(server.url("shop.git"))))
    run, events = await consume(configured)
    assert (run.files_processed, run.files_failed) == (len(files), 0)
    sizes = {event.path: event.bytes for event in events if isinstance(event, FileResolved)}
    assert sizes == {path: len(content) for path, content in files.items()}
    for path, record in (await records(configured)).items():
        assert record.file.checksum == f"sha256:{hashlib.sha256(files[path]).hexdigest()}"
        assert record.file.size_bytes == len(files[path])
    cache = CloneCache(configured.clone_cache_dir, 1 << 30, max_object_bytes=1 << 30)
    cache.open()
    stats = cache.stats()
    cache.close()
    assert (stats.hits, sum(stats.misses.values())) == (0, len(files))


async def test_what_was_let_go_of_and_evicted_comes_from_the_host_again(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    commit = repository.commit({"a.bin": b"a" * 5000, "b.bin": b"b" * 5000})
    source = GitSource(server.url("shop.git"), commit)
    async with fetching(tmp_path / "cache") as parts:
        first, second = await parts.fetcher.fetch_many(source, [Wanted("a.bin"), Wanted("b.bin")], hold=6000)
        assert isinstance(first, GitContent)
        assert isinstance(second, GitContent)
        assert (first.let_go, second.content) == (None, b"")
        assert second.let_go == LetGo(5000, f"sha256:{hashlib.sha256(b'b' * 5000).hexdigest()}")
        asked = server.bytes_sent
        assert await parts.fetcher.read_again(source, Wanted("b.bin"), second.blob) == b"b" * 5000
        assert server.bytes_sent == asked
        parts.cache.clear()
        assert await parts.fetcher.read_again(source, Wanted("b.bin"), second.blob) == b"b" * 5000
        assert server.bytes_sent > asked
        with pytest.raises(MissingBlob):
            await parts.fetcher.read_again(source, Wanted("b.bin"), "1" * 40)
