"""Fetching ahead of need, and commands on a clone cache that an agent is using, against real Git hosts."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest
import trustme

from archon_agent.http.agent import agent_handlers
from archon_agent.http.server import serving
from archon_agent.http.warming import MOST_REPOSITORIES
from archon_agent.openapi import document
from core.agent import Agent as Consuming
from core.assembly.consuming import consuming
from core.git.source import GitContent, GitSource, RepositoryToWarm, Wanted, WarmLimits
from core.git.warming import warm
from core.settings import Settings, load
from core.settings.http import HttpSettings
from tests.bare_repositories import BareRepository, generated_files
from tests.git_fetching import fetching
from tests.integration.test_storage_commands import Agent
from tests.repositories import commit
from tests.servers.git_http import Fault, GitHttpServer

TOKEN = "a-token-for-tests-only"
FILES = 12


@pytest.fixture
def shop(tmp_path: Path) -> BareRepository:
    (tmp_path / "served").mkdir()
    made = BareRepository(tmp_path / "served" / "shop.git")
    made.commit(dict(generated_files(FILES, size=300)))
    return made


@pytest.fixture
def server(tmp_path: Path, shop: BareRepository) -> Iterator[GitHttpServer]:
    BareRepository(tmp_path / "served" / "private.git").commit({"secret.py": b"x = 1\n"})
    authority = trustme.CA()
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(certificate)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with GitHttpServer(tmp_path / "served", tokens={"private.git": TOKEN}, certificate=certificate) as it:
        yield it


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    home = tmp_path / "home"
    home.mkdir()
    (home / "archon.toml").write_text(f'[git]\nnetworks = ["127.0.0.0/8"]\nca_file = "{tmp_path}/ca.pem"\n')
    return Agent(home, ARCHON_TEST_TOKEN=TOKEN)


def git_figures(agent: Agent) -> Any:
    return agent.json("cache", "stats", "--type", "git")["git"]


def test_a_warmed_repository_is_ingested_without_fetching_its_files_again(
    agent: Agent, server: GitHttpServer, shop: BareRepository
) -> None:
    url = server.url("shop.git")
    (warmed,) = agent.json("cache", "warm", "--git-url", url, "--git-ref", "main")["repositories"]
    assert (warmed["commit"], warmed["files"], warmed["fetched"], warmed["missing"]) == (
        shop.git("rev-parse", "main"),
        FILES,
        FILES,
        0,
    )
    assert warmed["bytes"] > FILES * 100
    (listed,) = git_figures(agent)["listed"]
    assert (listed["name"], listed["credential_ref"]) == (url, None)
    assert abs(time.time() - listed["last_used"]) < 600

    (again,) = agent.json("cache", "warm", "--git-url", url)["repositories"]
    assert (again["files"], again["fetched"], again["bytes"]) == (FILES, 0, 0)
    assert agent.run("ingest", "--git-url", url).returncode == 0
    asked = len(server.seen)
    assert agent.run("run", "--drain", "--no-http").returncode == 0
    assert len(server.seen) == asked
    assert (git_figures(agent)["hits"], git_figures(agent)["misses"]) == (FILES, {})


def test_what_waits_is_fetched_and_nothing_is_consumed(
    agent: Agent, server: GitHttpServer, tmp_path: Path
) -> None:
    one = ("--log-partitions", "1")  # so that each ingestion is one event
    assert agent.run("ingest", "--git-url", server.url("shop.git"), *one).returncode == 0
    local = commit(tmp_path / "local", {"a.py": b"x = 1\n"})
    assert agent.run("ingest", local, *one).returncode == 0
    waiting = agent.json("cache", "warm", "--waiting")["waiting"]
    assert (waiting["events"], waiting["files"], waiting["failed"]) == (2, FILES, {}), "inline needs no cache"
    assert agent.json("cache", "warm", "--waiting", "--limit", "1")["waiting"]["events"] == 1
    asked = len(server.seen)
    done = agent.run("run", "--drain", "--no-http", "--json")
    assert json.loads(done.stdout)["files_processed"] == FILES + 1
    assert len(server.seen) == asked
    assert agent.json("cache", "warm", "--waiting")["waiting"]["events"] == 0


def test_waiting_files_that_cannot_be_had_are_counted_by_reason(agent: Agent, server: GitHttpServer) -> None:
    reference = ("--git-credentials-ref", "env:ARCHON_TEST_TOKEN")
    assert agent.run("ingest", "--git-url", server.url("private.git"), *reference).returncode == 0
    waiting = agent.json("cache", "warm", "--waiting", code=1)["waiting"]
    assert waiting["failed"] == {"access_denied": 1}, "an event's credential is not a person's"


def test_several_repositories_come_from_flags_and_lines_and_each_has_its_outcome(
    agent: Agent, server: GitHttpServer
) -> None:
    url, private = server.url("shop.git"), server.url("private.git")
    lines = f"# ours\n\n{private} main env:ARCHON_TEST_TOKEN\n{private}\n{url} nowhere\n"
    done = agent.run("cache", "warm", "--git-url", url, "--from", "-", "--json", answer=lines)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)["repositories"]
    assert [each["missing"] for each in found] == [0] * 4
    assert [each["reason"] for each in found] == [None, None, "access_denied", "unknown_ref"]
    assert TOKEN not in done.stdout + done.stderr
    shown = agent.run("cache", "stats", "--type", "git", "--by", "age").stdout
    assert "env:ARCHON_TEST_TOKEN" in shown
    assert TOKEN not in shown
    assert private in shown


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "nothing to fetch"),
        (("--git-ref", "main"), 2, "go with --git-url"),
        (("--git-url", "ext::sh -c id"), 2, "is not a Git URL"),
        (("--git-url", "https://user:hunter22@git.example.com/x"), 2, "user name or password"),
        (("--git-url", "https://127.0.0.1:1/x"), 4, "cannot be reached"),
        (("--git-url", "https://10.0.0.1/x"), 2, "10.0.0.1"),
        (("--from", "/nowhere"), 2, "cannot be read"),
    ],
)
def test_what_cannot_be_warmed_ends_with_its_code(
    agent: Agent, server: GitHttpServer, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = agent.run("cache", "warm", *arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "hunter22" not in done.stderr
    assert "Traceback" not in done.stderr


def test_the_commands_treat_both_caches_alike(agent: Agent, server: GitHttpServer) -> None:
    agent.json("cache", "warm", "--git-url", server.url("shop.git"))
    assert agent.json("cache", "stats", "--entries", "0").keys() == {"object", "git"}
    assert agent.json("cache", "verify")["git"]["entries"] == 1
    pack, *_ = (agent.home / "cache" / "git" / "clones").rglob("*.pack")
    pack.chmod(0o600)
    pack.write_bytes(pack.read_bytes()[:-30] + b"\0" * 30)
    assert agent.json("cache", "verify", "--type", "git", code=1)["git"]["corrupt"] == 1
    assert git_figures(agent)["corruptions"] == 1
    agent.json("cache", "warm", "--git-url", server.url("shop.git"))
    assert "git: would remove 1 entries" in agent.run("cache", "clear", "--dry-run").stdout
    refused = agent.run("cache", "clear", answer="n\n")
    assert refused.returncode == 130
    assert "remove 0 entries of the object cache" in refused.stderr
    assert git_figures(agent)["entries"] == 1
    removed = agent.json("cache", "clear", "--yes")["removed"]
    assert removed["git"]["entries"] == 1
    assert git_figures(agent)["entries"] == 0
    assert agent.run("cache", "stats", "--type", "disk").returncode == 2


async def test_limits_end_a_warming_and_keep_what_came(tmp_path: Path, server: GitHttpServer) -> None:
    url = server.url("shop.git")
    turns = asyncio.Semaphore(2)
    async with fetching(tmp_path / "cache", ca_file=tmp_path / "ca.pem") as of:
        wanted = [RepositoryToWarm(url)]
        (large,) = await warm(of.fetcher, wanted, WarmLimits(max_bytes=100), turns)
        assert large.error
        assert large.error.reason == "content_too_large"
        server.faults.append(hang := Fault("hang"))
        slow = warm(of.fetcher, wanted, WarmLimits(deadline_s=1.0), turns)
        (late,) = await slow
        assert hang.reached.is_set()
        assert late.error
        assert (late.error.reason, late.missing) == ("deadline_exceeded", FILES)
        server.faults.clear()
        (rest,) = await warm(of.fetcher, wanted, WarmLimits(), turns)
        assert (rest.error, rest.missing, rest.files) == (None, 0, FILES)
        source = GitSource(url, rest.commit or "")
        files = [Wanted(path) for path, _ in generated_files(FILES, size=300)]
        asked = len(server.seen)
        answers = await of.fetcher.fetch_many(source, files)
        assert all(isinstance(answer, GitContent) and answer.cache_hit for answer in answers)
        assert len(server.seen) == asked


# Over HTTP, at an agent at work


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[tuple[aiohttp.ClientSession, Consuming]]:
    stop = asyncio.Event()
    async with (
        consuming(settings) as agent,
        serving(agent_handlers(agent), HttpSettings(address="127.0.0.1:0")) as url,
    ):
        running = asyncio.create_task(agent.run(drain=False, stop=stop))
        try:
            async with aiohttp.ClientSession(url) as client:
                yield client, agent
        finally:
            stop.set()
            await running


@pytest.fixture
def settings(agent: Agent, server: GitHttpServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("ARCHON_TEST_TOKEN", TOKEN)
    with (agent.home / "archon.toml").open("a") as file:
        file.write(f'[git.credentials."127.0.0.1:{server.port}"]\nrefs = ["env:ARCHON_TEST_TOKEN"]\n')
    return load({"home": agent.home, "agent.workers": 1}, environ={}).settings


async def post(client: aiohttp.ClientSession, body: Any) -> tuple[int, Any]:
    async with client.post("/api/cache/warm", json=body) as answer:
        return answer.status, await answer.json()


async def test_an_agent_warms_repositories_within_its_own_rules_and_tells_of_it(
    settings: Settings, server: GitHttpServer, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOTHER_SECRET", "another-secret-value")
    url, private = server.url("shop.git"), server.url("private.git")
    granted = {"type": "token", "credential_ref": "env:ARCHON_TEST_TOKEN"}
    stolen = {"type": "token", "credential_ref": "env:ANOTHER_SECRET"}
    asked: list[dict[str, Any]] = [
        {"git_url": url, "git_ref": "main"},
        {"git_url": private, "credentials": granted},
        {"git_url": private, "credentials": stolen},
        {"git_url": "https://10.0.0.1/x.git"},
        {"git_url": "ext::sh -c id"},
        {"git_url": url, "git_ref": "--upload-pack=id"},
    ]
    async with working(settings) as (client, _):
        assert (await (await client.get("/api/cache")).json()).keys() == {"object"}
        status, report = await post(client, {"repositories": asked})
        assert status == 200
        schema = document()["paths"]["/api/cache/warm"]["post"]["responses"]["200"]["content"]
        whole = {**schema["application/json"]["schema"], "components": document()["components"]}
        jsonschema.validate(report, whole)
        reasons = [each["reason"] for each in report["results"]]
        assert reasons[:3] == [None, None, "access_denied"]
        assert set(reasons[3:]) == {"unsafe_input"}
        assert (report["repositories"], report["failed"]) == (6, 4)
        sent = {seen.authorization for seen in server.seen}
        assert len(sent - {None}) == 1, "one secret, to its own host"

        figures = (await (await client.get("/api/cache")).json())["git"]
        assert (figures["entries"], figures["bytes"] > 0) == (2, True)
        status = await (await client.get("/api/status")).json()
        told = status["caches"]["git"]
        assert (told["entries"], told["evictions"], told["causes"]) == (2, 0, {})
        metrics = await (await client.get("/metrics")).text()
        assert 'archon_cache_evictions_total{cache_type="git"} 0.0' in metrics
        assert f'archon_cache_size_bytes{{cache_type="git"}} {float(figures["bytes"])}' in metrics

        # A command on the directory of an agent at work.
        removed = await asyncio.to_thread(agent.json, "cache", "clear", "--type", "git", "--yes")
        assert removed["removed"]["git"]["entries"] == 2
        status, report = await post(client, {"repositories": asked[:1]})
        assert report["results"][0]["fetched"] == FILES
        assert (await asyncio.to_thread(git_figures, agent))["entries"] == 1
    async with working(settings) as (client, _):
        figures = (await (await client.get("/api/cache")).json())["git"]
        assert figures["entries"] == 1, "told from the start"


@pytest.mark.parametrize(
    "body",
    [
        {"repositories": []},
        {"repositories": [{"git_url": "https://x/y"}] * (MOST_REPOSITORIES + 1)},
        {"repositories": [{"git_ref": "main"}]},
        {"repositories": [{"git_url": "https://x/y", "git_reff": "main"}]},
        {"repositories": [{"git_url": "https://x/y", "credentials": {"type": "token"}}]},
        {"repositories": [{"git_url": "https://x/" + "y" * 3000}]},
        {"repositories": "https://x/y"},
    ],
)
async def test_a_request_that_is_not_as_described_is_refused(settings: Settings, body: Any) -> None:
    async with working(settings) as (client, _):
        status, answer = await post(client, body)
    assert (status, answer.keys()) == (400, {"error"})


def test_doctor_tells_of_the_caches(agent: Agent, server: GitHttpServer, tmp_path: Path) -> None:
    agent.json("cache", "warm", "--git-url", server.url("shop.git"))
    agent.environment["GIT_CLONE_CACHE_DIR"] = str(tmp_path / "elsewhere")
    checks = {check["name"]: check for check in agent.json("doctor")["checks"]}
    assert checks["clone cache disk"]["state"] in {"ok", "degraded"}
    assert checks["caches"]["detail"] == "object 0 B of 10.0 GB; git 0 B of 50.0 GB"
