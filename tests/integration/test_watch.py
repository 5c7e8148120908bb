"""Watching real repositories over `git http-backend`: what each round publishes, and what it survives."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from core.assembly.publishing import ingestion
from core.assembly.source import RemoteTarget, Target
from core.assembly.watching import watching
from core.errors import AccessDenied, BackendUnavailable
from core.git.errors import UnknownCommit, UnknownRef
from core.journal import open_journal
from core.telemetry.health import State
from core.watching.hooks import Push, key_of
from core.watching.model import Outcome, Work
from core.watching.state import WatchState
from tests.bare_repositories import BareRepository, Content
from tests.servers.git_http import Fault, GitHttpServer
from tests.watching import delta, once, one, published, running, settings, watched

FILES: dict[str, Content] = {f"pkg/m{number}.py": b"x = %d\n" % number for number in range(20)}
CHANGES: dict[str, Content] = {"pkg/m0.py": b"x = 'new'\n", "pkg/m1.py": None, "added.py": b"y = 1\n"}
TOKEN = "ghp-watch-canary"


@pytest.fixture
def repository(tmp_path: Path) -> BareRepository:
    (tmp_path / "served").mkdir()
    return BareRepository(tmp_path / "served" / "shop.git")


@pytest.fixture
def server(tmp_path: Path, repository: BareRepository) -> Iterator[GitHttpServer]:
    with GitHttpServer(tmp_path / "served") as running_server:
        yield running_server


async def test_rounds_publish_all_then_what_changed_then_nothing(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    first = repository.commit(FILES)
    configured = settings(tmp_path / "home")
    shop = watched(configured, server.url("shop.git"))
    done = await one(configured, shop)
    assert (done.outcome, done.work, done.commit, done.previous) == (Outcome.INGESTED, Work.FULL, first, None)
    before = await published(configured)
    assert delta(before) == (set(FILES), set())
    assert {request.git_branch for request in before} == {"main"}
    again = await one(configured, shop)
    assert (again.outcome, again.commit, again.note) == (Outcome.UNCHANGED, first, None)
    (journal,) = configured.journal_dir.iterdir()
    assert open_journal(journal).header.project == "shop"
    second = repository.commit(CHANGES)
    done = await one(configured, shop)
    assert (done.outcome, done.work, done.commit, done.previous, done.note) == (
        Outcome.INGESTED,
        Work.DELTA,
        second,
        first,
        None,
    )
    assert delta((await published(configured))[len(before) :]) == ({"pkg/m0.py", "added.py"}, {"pkg/m1.py"})


async def test_a_look_at_a_branch_that_has_not_moved_is_one_request(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    repository.commit(FILES)
    for number in range(50):
        repository.git("branch", f"other-{number}", "main")
    configured = settings(tmp_path / "home")
    async with running(configured, watched(configured, server.url("shop.git"))) as place:
        assert (await place.next()).outcome is Outcome.INGESTED
        asked, sent = len(server.seen), server.bytes_sent
        await place.go_on()
        assert (await place.next()).outcome is Outcome.UNCHANGED
        assert len(server.seen) - asked == 1
        assert server.bytes_sent - sent < 200, "the one branch, not all"


async def test_an_old_host_is_watched_too(tmp_path: Path, repository: BareRepository) -> None:
    repository.commit(FILES)
    configured = settings(tmp_path / "home")
    with GitHttpServer(tmp_path / "served", protocol_v2=False) as old:
        shop = watched(configured, old.url("shop.git"))
        assert (await one(configured, shop)).outcome is Outcome.INGESTED
        before = await published(configured)
        second = repository.commit({**FILES, **CHANGES}, parent=None)
        done = await one(configured, shop)
    assert (done.outcome, done.commit, done.note) == (Outcome.INGESTED, second, None), "it cannot be asked"
    assert delta((await published(configured))[len(before) :]) == ({"pkg/m0.py", "added.py"}, {"pkg/m1.py"})


async def test_a_rewritten_branch_is_noted_and_compared_with_what_was_published(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    repository.commit(FILES)
    overwritten = repository.commit(CHANGES)
    configured = settings(tmp_path / "home")
    shop = watched(configured, server.url("shop.git"))
    await one(configured, shop)
    before = await published(configured)
    kept = dict(list(FILES.items())[:5])
    repository.commit({**kept, "pkg/m2.py": b"x = 'rewritten'\n"}, parent=None)
    done = await one(configured, shop)
    assert done.outcome is Outcome.INGESTED
    assert done.note is not None
    assert f"{overwritten[:12]} is not behind" in done.note
    files, deleted = delta((await published(configured))[len(before) :])
    assert files == {"pkg/m0.py", "pkg/m1.py", "pkg/m2.py"}
    assert deleted == {f"pkg/m{number}.py" for number in range(5, 20)} | {"added.py"}


async def test_a_base_that_the_host_collected_and_we_lost_does_not_matter(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    first = repository.commit(FILES)
    configured = settings(tmp_path / "home")
    shop = watched(configured, server.url("shop.git"))
    await one(configured, shop)
    before = await published(configured)
    repository.commit({**FILES, **CHANGES}, parent=None)
    repository.git("reflog", "expire", "--expire=now", "--all")
    repository.git("gc", "-q", "--prune=now")
    shutil.rmtree(configured.clone_cache_dir)
    done = await one(configured, shop)
    assert (done.outcome, done.previous) == (Outcome.INGESTED, first)
    assert done.note is not None
    assert "was rewritten" in done.note
    assert delta((await published(configured))[len(before) :]) == ({"pkg/m0.py", "added.py"}, {"pkg/m1.py"})
    with pytest.raises(UnknownCommit, match=f"--since: .* no commit {first[:12]}"):
        async with ingestion(configured, Target(RemoteTarget(shop.url), since=first)):
            pass


async def test_a_merge_of_an_old_branch_is_no_rewriting(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    old = repository.commit(FILES)
    repository.commit({"side.py": b"1\n"}, branch="side", parent=old)
    for number in range(60):
        repository.commit({"pkg/m0.py": b"%d\n" % number})
    configured = settings(tmp_path / "home")
    shop = watched(configured, server.url("shop.git"))
    await one(configured, shop)
    tree = repository.git("rev-parse", "side^{tree}")
    merge = repository.git("commit-tree", tree, "-p", "side", "-p", "main", "-m", "merge")
    repository.git("update-ref", "refs/heads/main", merge)
    done = await one(configured, shop)
    assert (done.outcome, done.commit, done.note) == (Outcome.INGESTED, merge, None)


async def test_a_branch_that_is_deleted_fails_and_removes_nothing(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    commit = repository.commit(FILES)
    configured = settings(tmp_path / "home")
    shop = watched(configured, server.url("shop.git"))
    await one(configured, shop)
    before = await published(configured)
    repository.git("update-ref", "-d", "refs/heads/main")
    done = await one(configured, shop)
    assert done.outcome is Outcome.FAILED
    assert isinstance(done.error, UnknownRef)
    assert str(done.error) == "the repository has no branch main"
    repository.git("update-ref", "refs/heads/main", commit)
    assert (await one(configured, shop)).outcome is Outcome.UNCHANGED
    assert await published(configured) == before


async def test_a_private_repository_needs_its_token(
    tmp_path: Path, repository: BareRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit(FILES)
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("WATCH_TOKEN", TOKEN)
    monkeypatch.setenv("WRONG_TOKEN", "wrong")
    configured = settings(tmp_path / "home", **{"git.ca_file": tmp_path / "ca.pem"})
    tokens = {"shop.git": TOKEN}
    with GitHttpServer(tmp_path / "served", certificate=context, tokens=tokens) as private:
        url = private.url("shop.git")
        for reference in (None, "env:WRONG_TOKEN"):
            refused = await one(configured, watched(configured, url, credentials_ref=reference))
            assert isinstance(refused.error, AccessDenied)
        done = await one(configured, watched(configured, url, credentials_ref="env:WATCH_TOKEN"))
    assert done.outcome is Outcome.INGESTED
    assert TOKEN not in repr(done) + str(done.to_json())
    requests = await published(configured)
    assert {request.git_credentials.credential_ref for request in requests if request.git_credentials} == {
        "env:WATCH_TOKEN"
    }


async def test_a_failure_costs_its_neighbours_nothing(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    repository.commit(FILES)
    configured = settings(tmp_path / "home")
    shop, gone = (watched(configured, server.url(name)) for name in ("shop.git", "gone.git"))
    done = {each.watched.project: each for each in await once(configured, gone, shop)}
    assert done["shop"].outcome is Outcome.INGESTED
    assert done["gone"].error is not None
    assert done["gone"].error.reason == "repository_not_found"


async def test_a_host_that_is_down_is_left_alone_longer_each_time_and_taken_up_again(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    repository.commit(FILES)
    configured = settings(tmp_path / "home")
    down = Fault("status", on="git-upload-pack", status=503)
    async with running(configured, watched(configured, server.url("shop.git"), interval="60s")) as place:
        assert (await place.next()).succeeded
        service = place.service
        server.faults.append(down)
        waits = []
        repository.commit(CHANGES)
        for _ in range(4):
            await place.go_on()
            done = await place.next()
            assert done.outcome is Outcome.FAILED
            assert isinstance(done.error, BackendUnavailable)
            assert done.next_s is not None
            waits.append(done.next_s)
        assert all(30 * 2**number <= wait <= 60 * 2**number for number, wait in enumerate(waits)), waits
        check = (await service.readiness()).results[-1]
        assert (check.name, check.state) == ("repositories", State.DEGRADED)
        assert check.detail is not None
        assert check.detail.startswith("1 of 1 fail: shop: ")
        assert "(4 times in a row)" in check.detail
        assert await _metric(service.metrics, "archon_watch_failures_in_a_row") == 4
        server.faults.remove(down)
        assert await place.go_on() == waits[-1]
        done = await place.next()
        assert done.outcome is Outcome.INGESTED
        assert done.next_s is not None
        assert done.next_s <= 66
        assert (await service.readiness()).results[-1].detail == "1 watched, none fails"
        assert await _metric(service.metrics, "archon_watch_failures_in_a_row") == 0


async def test_a_pause_that_a_host_asks_for_is_kept(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    repository.commit(FILES)
    server.faults.append(Fault("status", on="refs", times=1, status=429, headers={"Retry-After": "200"}))
    configured = settings(tmp_path / "home")
    async with running(configured, watched(configured, server.url("shop.git"), interval="1s")) as place:
        done = await place.next()
        assert done.error is not None
        assert done.next_s == 200
        push = Push(frozenset({key_of(server.url("shop.git")) or ""}), "main", None)
        assert place.service.watcher.push(push) == {"shop": "queued"}
        assert await place.go_on() == 200, "even when a hook comes"
        assert (await place.next()).outcome is Outcome.INGESTED


async def test_a_project_that_is_fed_from_elsewhere_is_compared_in_full(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    repository.commit(FILES)
    repository.commit(CHANGES, branch="next", parent="main")
    configured = settings(tmp_path / "home")
    await one(configured, watched(configured, server.url("shop.git")))
    before = await published(configured)
    done = await one(configured, watched(configured, server.url("shop.git"), branch="next"))
    assert (done.outcome, done.work, done.previous) == (Outcome.INGESTED, Work.FULL, None)
    assert done.note == f"before, the project was fed from main of {server.url('shop.git')}"
    assert delta((await published(configured))[len(before) :]) == ({"pkg/m0.py", "added.py"}, {"pkg/m1.py"})


async def test_the_default_branch_is_followed(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    first = repository.commit(FILES)
    second = repository.commit(CHANGES, branch="trunk", parent="main")
    configured = settings(tmp_path / "home")
    shop = watched(configured, server.url("shop.git"), branch=None)
    assert (await one(configured, shop)).commit == first
    repository.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    assert (await one(configured, shop)).commit == second


async def test_two_watchers_of_one_data_directory_ingest_once(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    repository.commit(FILES)
    configured = settings(tmp_path / "home")
    shop = watched(configured, server.url("shop.git"))
    rounds = await asyncio.gather(*(one(configured, shop) for _ in range(5)))
    outcomes = [done.outcome for done in rounds]
    assert outcomes.count(Outcome.INGESTED) == 1
    assert set(outcomes) <= {Outcome.INGESTED, Outcome.BUSY, Outcome.UNCHANGED}
    requests = await published(configured)
    assert sum(len(request.files) for request in requests) == len(FILES)


async def test_so_many_are_ingested_at_once_and_no_more(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    repository.commit(FILES)
    configured = settings(tmp_path / "home", **{"watch.ingestions_at_once": "1"})
    url = server.url("shop.git")
    shops = [watched(configured, url, project_name=f"shop {number}") for number in range(4)]
    told: list[tuple[str, str]] = []
    opened = watching(
        configured,
        shops,
        begin=lambda begun: told.append(("begin", begun.watched.project)),
        tell=lambda done: told.append(("end", done.watched.project)),
        service=False,
    )
    async with opened as service:
        await service.watcher.once(asyncio.Event())
    assert len(told) == 8
    for (began, project), (ended, same) in zip(told[::2], told[1::2], strict=True):
        assert (began, ended, project) == ("begin", "end", same)


async def test_a_claimed_project_is_left_to_its_holder(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    commit = repository.commit(FILES)
    configured = settings(tmp_path / "home")
    shop = watched(configured, server.url("shop.git"))
    async with running(configured, shop) as place:
        await place.next()
        state = place.service.watcher._state
        repository.commit(CHANGES)
        with state.claim("shop") as ours, state.claim("shop") as twice, state.claim("other") as other:
            assert (ours, twice, other) == (True, False, True)
            await place.go_on()
            busy = await place.next()
        assert (busy.outcome, busy.note) == (Outcome.BUSY, "another process is ingesting it")
        assert place.service.watcher.places["shop"].failures == 0
        await place.go_on()
        assert ((done := await place.next()).outcome, done.previous) == (Outcome.INGESTED, commit)


async def test_a_log_that_refuses_leaves_the_state_as_it_was(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    repository.commit(FILES)
    configured = settings(tmp_path / "home")
    shop = watched(configured, server.url("shop.git"))
    log = configured.data_dir / "log.sqlite"
    await one(configured, shop)
    second = repository.commit(CHANGES)
    async with running(configured, shop) as place:
        moved = log.with_name("away")
        log.rename(moved)
        log.mkdir()
        failed = await place.next()
        assert (failed.outcome, failed.commit) == (Outcome.FAILED, second)
        assert failed.error is not None
        log.rmdir()
        moved.rename(log)
        await place.go_on()
        done = await place.next()
        assert (done.outcome, done.work, done.commit) == (Outcome.INGESTED, Work.DELTA, second)


async def test_another_log_has_got_nothing_yet(tmp_path: Path) -> None:
    from core.watching.model import Ingested

    known = Ingested("https://h.example/shop", "main", "a" * 40, 1.5)
    async with WatchState(tmp_path, "kafka-one") as state:
        assert await state.get("shop") is None
        await state.put("shop", known)
    async with WatchState(tmp_path, "kafka-one") as state:
        assert await state.get("shop") == known
        assert await state.get("other") is None
    async with WatchState(tmp_path, "kafka-two") as state:
        assert await state.get("shop") is None


async def test_a_stop_ends_a_look_at_a_silent_host_at_once(
    tmp_path: Path, repository: BareRepository, server: GitHttpServer
) -> None:
    repository.commit(FILES)
    silent = Fault("hang", on="refs")
    server.faults.append(silent)
    configured = settings(tmp_path / "home", **{"git.stall": "60s", "git.fetch_deadline": "60s"})
    async with running(configured, watched(configured, server.url("shop.git"))) as place:
        await asyncio.to_thread(silent.reached.wait, 30)
        place.stop.set()
        assert (await place.next()).outcome is Outcome.INTERRUPTED


async def _metric(metrics: object, name: str, project: str = "shop") -> float | None:
    value: float | None = metrics.registry.get_sample_value(name, {"project": project})  # type: ignore[attr-defined]
    return value
