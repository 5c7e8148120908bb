"""`archon-agent watch` as its user meets it: output, exit codes, the file of repositories."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bare_repositories import BareRepository
from tests.integration.test_agent_command import Agent, assert_one_line
from tests.servers.git_http import GitHttpServer

HOSTS = '[git]\nschemes = "http,https"\nnetworks = "127.0.0.0/8"\n'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitHttpServer]:
    (tmp_path / "served").mkdir()
    for name in ("shop", "bank"):
        BareRepository(tmp_path / "served" / f"{name}.git").commit({"a.py": b"x = 1\n", f"{name}.py": b"y\n"})
    with GitHttpServer(tmp_path / "served") as running:
        yield running


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    agent = Agent(tmp_path / "home")
    agent.home.mkdir()
    return agent


def watched(agent: Agent, *urls: str) -> None:
    """Write an archon.toml that watches these."""
    tables = "".join(f'\n[[watch.repositories]]\ngit_url = "{url}"\nbranch = "main"\n' for url in urls)
    (agent.home / "archon.toml").write_text(HOSTS + tables)


def test_repositories_of_a_file_are_ingested_and_analysed(agent: Agent, server: GitHttpServer) -> None:
    watched(agent, server.url("shop.git"), server.url("bank.git"))
    done = agent.run("watch", "--once", "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["project"]: (line["outcome"], line["work"]) for line in lines} == dict.fromkeys(
        ("shop", "bank"), ("ingested", "full")
    )
    assert {line["ingestion"]["files_published"] for line in lines} == {2}
    assert all(line["git_url"] == server.url(f"{line['project']}.git") for line in lines)
    assert agent.json("run", "--drain")["files_processed"] == 4
    again = agent.run("watch", "--once", "-v")
    assert (again.returncode, again.stdout) == (0, "")
    assert sorted(line.split(": ")[1].split()[0] for line in again.stderr.splitlines()) == ["unchanged"] * 2
    assert agent.run("watch", "--once").stderr == ""


def test_people_read_what_happens(agent: Agent, server: GitHttpServer) -> None:
    watched(agent)
    done = agent.run("watch", "--git-url", server.url("shop.git"), "--once", "--project-name", "my shop")
    assert done.returncode == 0, done.stderr
    began, ended = done.stderr.splitlines()
    assert began.startswith("my shop: ingesting ")
    assert began.endswith(", all of it")
    assert ": 2 published, 0 unchanged" in ended


def test_some_that_fail_are_1_and_name_themselves(agent: Agent, server: GitHttpServer) -> None:
    watched(agent, server.url("gone.git"), server.url("shop.git"))
    done = agent.run("watch", "--once")
    assert done.returncode == 1
    assert "gone main: failed: " in done.stderr
    assert "shop main: ingested " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--branch", "nope"), 3, ("shop nope: failed: the repository has no branch nope",)),
        (("--git-credentials-ref", "env:X"), 1, ("not sent over http",)),
    ],
)
def test_one_that_fails_gives_its_own_code(
    agent: Agent, server: GitHttpServer, arguments: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    watched(agent)
    done = agent.run("watch", "--once", "--git-url", server.url("shop.git"), *arguments)
    assert done.returncode == code, done.stderr
    for word in words:
        assert word in done.stderr


def test_a_host_that_cannot_be_reached_is_4(agent: Agent) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        watched(agent, f"http://127.0.0.1:{unused.getsockname()[1]}/shop.git")
        done = agent.run("watch", "--once")
    assert done.returncode == 4
    assert "cannot be reached" in done.stderr


def test_wrong_usage_and_configuration_are_told_apart(agent: Agent) -> None:
    watched(agent)
    assert_one_line(agent.run("watch", "--once"), 2, "no repository to watch", "[[watch.repositories]]")
    assert_one_line(agent.run("watch", "--branch", "main"), 2, "go with --git-url")
    assert_one_line(agent.run("watch", "--git-url", "ext::id"), 2, "not a Git URL")
    assert_one_line(
        agent.run("watch", "--git-url", "https://h.example/a", "--interval", "1ms"), 3, "interval"
    )
    watched(agent, "https://h.example/a", "https://h.example/b/a.git")
    assert_one_line(agent.run("watch"), 3, "entry 2: another one is the project a too", "project_name")


def test_a_busy_address_is_said(agent: Agent, server: GitHttpServer) -> None:
    watched(agent, server.url("shop.git"))
    done = agent.run("watch", "--http", f"127.0.0.1:{server.port}")
    assert_one_line(done, 3, "cannot listen on", "--no-http")


def test_a_reader_that_goes_away_ends_it(agent: Agent, server: GitHttpServer) -> None:
    watched(agent, server.url("shop.git"))
    process = subprocess.Popen(
        agent.command("watch", "--no-http", "--json", "--interval", "1s"),
        env=agent.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout
        assert process.stderr
        assert json.loads(process.stdout.readline())["outcome"] == "ingested"
        process.stdout.close()
        assert process.stderr.read().splitlines()[-1] == "archon: the reader of the output went away"
        assert process.wait() == 1
