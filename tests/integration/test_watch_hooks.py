"""Push hooks over HTTP: genuine ones start a round at once, any other changes nothing."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest

from archon_agent.http.server import serving
from archon_agent.http.watch import HOOK_BYTES, HOOK_DEADLINE_S, HOOKS_READ, watch_handlers
from archon_agent.openapi import document
from core.settings.http import HttpSettings
from core.watching.model import Outcome
from core.watching.watcher import LOOKS_APART_S
from tests.bare_repositories import BareRepository
from tests.servers.git_http import GitHttpServer
from tests.watching import Running, running, settings, watched

SECRET = "hook-canary-secret"
HOOK = "/api/hooks/push"


@dataclass
class Place:
    repository: BareRepository
    url: str
    watch: Running
    client: aiohttp.ClientSession
    git: GitHttpServer

    def body(self, commit: str, branch: str = "main", **more: Any) -> bytes:
        about = {"clone_url": self.url, "default_branch": "main"}
        return json.dumps(
            {"ref": f"refs/heads/{branch}", "after": commit, "repository": about, **more}
        ).encode()

    async def github(
        self, body: bytes, *, secret: str | None = SECRET, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        signed = {"X-GitHub-Event": "push", "Content-Type": "application/json", **headers}
        if secret is not None:
            signed["X-Hub-Signature-256"] = f"sha256={hmac.new(secret.encode(), body, sha256).hexdigest()}"
        return await self.send(body, signed)

    async def send(self, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        async with self.client.post(HOOK, data=body, headers=headers) as answer:
            return answer.status, await answer.json()

    def count(self, outcome: str) -> float:
        value = self.watch.service.metrics.registry.get_sample_value
        return value("archon_watch_hooks_total", {"outcome": outcome}) or 0.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitHttpServer]:
    (tmp_path / "served").mkdir()
    with GitHttpServer(tmp_path / "served") as running_server:
        yield running_server


@asynccontextmanager
async def served(
    tmp_path: Path, server: GitHttpServer, secret: str | None, http: HttpSettings
) -> AsyncIterator[Place]:
    repository = BareRepository(tmp_path / "served" / "shop.git")
    repository.commit({"a.py": b"x = 1\n"})
    flags = {"watch.hook_secret": secret} if secret else {}
    configured = settings(tmp_path / "home", **flags)
    url = server.url("shop.git")
    async with (
        running(configured, watched(configured, url)) as watch,
        serving(watch_handlers(watch.service), http) as at,
        aiohttp.ClientSession(at) as client,
    ):
        assert (await watch.next()).outcome is Outcome.INGESTED
        yield Place(repository, url, watch, client, server)


@pytest.fixture
async def place(
    tmp_path: Path, server: GitHttpServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    http = HttpSettings(address="127.0.0.1:0")
    async with served(tmp_path, server, "env:HOOK_SECRET", http) as found:
        found.watch.time += LOOKS_APART_S
        yield found


async def test_a_genuine_hook_starts_a_round(place: Place) -> None:
    commit = place.repository.commit({"a.py": b"x = 2\n"})
    assert await place.github(place.body(commit)) == (202, {"projects": {"shop": "queued"}})
    done = await place.watch.next()
    assert (done.outcome, done.commit) == (Outcome.INGESTED, commit)
    assert place.count("queued") == 1


async def test_gitlabs_hook_does_too(place: Place) -> None:
    commit = place.repository.commit({"a.py": b"x = 2\n"})
    project = {"git_http_url": place.url.replace("shop.git", "Shop.git/")}
    body = json.dumps({"ref": "refs/heads/main", "after": commit, "project": project}).encode()
    headers = {
        "X-Gitlab-Event": "Push Hook",
        "X-Gitlab-Token": SECRET,
        "Content-Type": "application/json",
        "Host": "hooks.example.com",
    }
    assert await place.send(body, headers) == (202, {"projects": {"shop": "queued"}})
    assert (await place.watch.next()).commit == commit


async def test_a_hook_that_is_not_genuine_changes_nothing(place: Place) -> None:
    asked = len(place.git.seen)
    body = place.body(place.repository.commit({"a.py": b"x = 2\n"}))
    json_body = {"Content-Type": "application/json", "X-GitHub-Event": "push"}
    answers = [
        await place.github(body, secret=None),
        await place.github(body, secret="another"),
        await place.send(body, {**json_body, "X-Hub-Signature-256": "sha256=" + "0" * 64}),
        await place.send(body, {**json_body, "X-Gitlab-Token": "another"}),
        await place.send(body, {**json_body, "Authorization": f"Bearer {SECRET}"}),
    ]
    assert [status for status, _ in answers] == [401] * 5
    assert all("projects" not in answer for _, answer in answers)
    assert place.count("refused") == 5
    shop = place.watch.service.watcher.places["shop"]
    assert not shop.wake.is_set()
    assert place.watch.rounds.empty()
    assert len(place.git.seen) == asked


async def test_replays_come_to_one_look_at_most(place: Place) -> None:
    commit = place.repository.commit({"a.py": b"x = 2\n"})
    body = place.body(commit)
    await place.github(body)
    assert (await place.watch.next()).commit == commit
    asked = len(place.git.seen)
    for _ in range(20):
        assert await place.github(body) == (200, {"projects": {"shop": "already ingested"}})
    assert len(place.git.seen) == asked
    older = place.body("1" * 40)
    for _ in range(20):
        assert (await place.github(older))[0] == 202
    await place.watch.waits.get()  # of the round before
    while (wait := await asyncio.wait_for(place.watch.waits.get(), 30)) != LOOKS_APART_S:
        assert wait > LOOKS_APART_S
    assert len(place.git.seen) == asked, "so soon after the last look nothing is asked"
    for _ in range(3):
        place.watch.awake.put_nowait(None)
    assert (await place.watch.next()).outcome is Outcome.UNCHANGED
    assert len(place.git.seen) == asked + 1


@pytest.mark.parametrize(
    ("change", "said", "outcome"),
    [
        ({"branch": "feature"}, {"projects": {"shop": "another branch is watched"}}, "ignored"),
        (
            {"repository": {"clone_url": "https://github.com/other/repo.git"}},
            {"projects": {}, "ignored": "no watched repository is github.com/other/repo"},
            "unmatched",
        ),
        (
            {"repository": None},
            {"projects": {}, "ignored": "no watched repository is a repository without a clone URL"},
            "unmatched",
        ),
    ],
)
async def test_what_is_not_watched_is_left_alone_and_said(
    place: Place,
    change: dict[str, Any],
    said: dict[str, Any],
    outcome: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await place.github(place.body("1" * 40, **change)) == (200, said)
    assert place.count(outcome) == 1
    assert ("a push hook changed nothing" in caplog.text) == (outcome == "unmatched")
    before = place.count("ignored")
    ping = await place.github(b'{"zen": "x"}', **{"X-GitHub-Event": "ping"})
    assert ping == (200, {"projects": {}, "ignored": "not a push to a branch"})
    assert place.count("ignored") == before + 1
    assert not place.watch.service.watcher.places["shop"].wake.is_set()


async def test_a_deleted_branch_is_looked_at_and_fails(place: Place) -> None:
    place.repository.git("update-ref", "-d", "refs/heads/main")
    assert (await place.github(place.body("0" * 40, deleted=True)))[0] == 202
    done = await place.watch.next()
    assert done.error is not None
    assert done.error.reason == "unknown_ref"


@pytest.mark.parametrize("body", [b"", b"{}", b"[" * 100_000, b"\xff\xfe\x00", b'{"ref": 1}'])
async def test_signed_nonsense_is_refused(place: Place, body: bytes) -> None:
    status, answer = await place.github(body)
    assert (status, "error" in answer) == (400, True)
    assert SECRET not in str(answer)


async def test_a_body_has_limits(place: Place) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(HOOK_BYTES // (1 << 16) + 2):
            yield b" " * (1 << 16)

    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": "sha256=0"}
    async with place.client.post(HOOK, data=endless(), headers=headers) as answer:
        assert answer.status == 413
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await place.github(b"payload=%7B%7D", **form))[0] == 415


async def test_hooks_with_slow_bodies_delay_no_genuine_one(place: Place) -> None:
    base = place.client._base_url
    assert base is not None
    head = (
        f"POST {HOOK} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "X-Hub-Signature-256: sha256=0\r\nContent-Length: 1000\r\n\r\n{"
    )
    slow = [await asyncio.open_connection(base.host, base.port) for _ in range(HOOKS_READ + 8)]
    for _, writer in slow:
        writer.write(head.encode())
    first_ones = [asyncio.wait_for(reader.readline(), HOOK_DEADLINE_S * 0.75) for reader, _ in slow[:8]]
    assert [line.split()[1] for line in await asyncio.gather(*first_ones)] == [b"408"] * 8
    commit = place.repository.commit({"a.py": b"x = 2\n"})
    async with asyncio.timeout(HOOK_DEADLINE_S * 0.75):
        assert await place.github(place.body(commit)) == (202, {"projects": {"shop": "queued"}})
        assert (await place.client.get("/health")).status == 200
    for _, writer in slow:
        writer.transport.abort()


async def test_health_readiness_and_metrics_are_served_beside(place: Place) -> None:
    ready = await (await place.client.get("/ready")).json()
    assert [check["name"] for check in ready["checks"]] == [
        "log",
        "data disk",
        "cache disk",
        "git hosts",
        "repositories",
    ]
    assert ready["checks"][-1]["detail"] == "1 watched, none fails"
    assert (await place.client.get("/health")).status == 200
    metrics = await (await place.client.get("/metrics")).text()
    assert 'archon_watch_rounds_total{outcome="ingested"} 1.0' in metrics
    assert 'archon_watch_behind_seconds{project="shop"} 0.0' in metrics
    assert 'archon_ingestion_files_total{content_strategy="git_reference",side="publish"} 1.0' in metrics
    assert SECRET not in metrics
    assert (await place.client.get("/api/status")).status == 404
    assert (await place.client.get(HOOK)).status == 405


async def test_answers_are_what_the_document_says(place: Place) -> None:
    described = document()
    answers = described["paths"][HOOK]["post"]["responses"]
    for body, secret, status in ((place.body("1" * 40), SECRET, 202), (b"{}", SECRET, 400), (b"", None, 401)):
        got, answer = await place.github(body, secret=secret)
        assert got == status
        schema = answers[str(status)]["content"]["application/json"]["schema"]
        jsonschema.validate(answer, {**schema, "components": described["components"]})


async def test_without_a_secret_hooks_are_off(tmp_path: Path, server: GitHttpServer) -> None:
    async with served(tmp_path, server, None, HttpSettings(address="127.0.0.1:0")) as place:
        status, answer = await place.github(place.body("1" * 40))
        assert (status, answer["error"]) == (401, "hooks are off: the server has no watch.hook_secret")


async def test_a_secret_that_is_gone_refuses_and_one_that_is_rotated_works(
    tmp_path: Path, server: GitHttpServer
) -> None:
    file = tmp_path / "hook-secret"
    file.write_text("old")
    file.chmod(0o600)
    async with served(tmp_path, server, f"file:{file}", HttpSettings(address="127.0.0.1:0")) as place:
        body = place.body("1" * 40)
        assert (await place.github(body, secret="old"))[0] == 202
        file.write_text(SECRET + "\n")
        file.chmod(0o600)
        assert (await place.github(body, secret="old"))[0] == 401
        assert (await place.github(body))[0] == 202
        file.unlink()
        assert (await place.github(body))[0] == 503
