"""`archon-agent` as its user meets it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core import __version__
from core.journal import events, journals
from core.progress import FilesScanned
from tests.repositories import FILES, commit

ROOT = Path(__file__).parents[2]


class Agent:
    """Runs commands with their state in one home."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "archon_agent", *map(str, arguments)]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("ARCHON_", "CONTENT_"))
            },
            "ARCHON_HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
            "CONTENT_STORAGE_PROVIDER": "none",
            "NO_COLOR": "1",
        }

    def run(
        self, *arguments: str | Path, before: Callable[[], None] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, preexec_fn=before
        )

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path / "home")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return commit(tmp_path / "shop")


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    lines = done.stderr.strip().splitlines()
    assert (done.returncode, len(lines)) == (code, 1), done.stderr
    assert lines[0].startswith("archon: ")
    for word in words:
        assert word in lines[0]


def test_version(agent: Agent) -> None:
    assert agent.run("--version").stdout == f"archon-agent {__version__}\n"


def test_the_main_job(agent: Agent, repository: Path) -> None:
    plan = agent.json("plan", repository)
    assert {file["path"]: (file["strategy"], file["unchanged"]) for file in plan["files"]} == dict.fromkeys(
        FILES, ("inline", False)
    )
    assert {file["encoding"] for file in plan["files"]} == {"utf-8", "latin-1", None}
    published = agent.json("ingest", repository)
    assert (published["files_published"], published["files_skipped"]) == (7, 0)
    assert plan["largest_message_bytes"] >= published["largest_message_bytes"]
    run = agent.json("run", "--drain")
    assert (run["files_processed"], run["files_failed"]) == (7, 0)
    records = agent.json("results", "--project", "shop")
    assert {record["path"] for record in records} == FILES.keys()
    assert {"project", "path", "language", "checksum", "lines", "symbols", "scores"} <= records[0].keys()
    assert [hit["path"] for hit in agent.json("search", "helper")] == ["pkg/util.py"]
    assert agent.json("ingest", repository)["files_unchanged"] == 7


def test_people_see_tables(agent: Agent, repository: Path) -> None:
    plan = agent.run("plan", repository).stdout
    assert "pkg/__init__.py" in plan
    assert "an empty file is content" in plan
    published = agent.run("ingest", repository).stdout
    assert "published 7 of 7 files" in published
    assert "7 files analysed" in agent.run("run", "--drain").stdout
    assert "pkg/util.py" in agent.run("results", "--sort", "complexity").stdout


def test_a_dry_run_sends_nothing(agent: Agent, repository: Path) -> None:
    dry = agent.json("ingest", repository, "--dry-run")
    assert (dry["files_published"], dry["dry_run"]) == (7, True)
    assert agent.json("run", "--drain")["events"] == 0


def test_demo_tells_what_came_out(agent: Agent, repository: Path) -> None:
    done = agent.run("demo", repository)
    assert done.returncode == 0, done.stderr
    for words in (
        "published 7 of 7 files",
        "analysed 7 files",
        "python",
        "helper",
        "pkg/util.py:1",
        "Try next",
    ):
        assert words in done.stdout
    assert agent.json("results") == []


def test_hostile_names_are_shown_not_obeyed(agent: Agent, tmp_path: Path) -> None:
    names = [
        "a[/b].py",
        "pages/[slug].tsx",
        "esc\x1b[31m.py",
        "osc\x1b]52;c;x\x07.py",
        "bidi\u202e.py",
        "new\nline.py",
    ]
    root = commit(tmp_path / "r", dict.fromkeys(names, b"def f(): pass\n"))
    for command in (("plan", root), ("ingest", root), ("run", "--drain"), ("results",), ("search", "f")):
        done = agent.run(*command)
        assert done.returncode == 0, done.stderr
        assert not {"\x1b", "\x07", "\u202e"} & set(done.stdout + done.stderr)
    shown = agent.run("results").stdout
    assert "a[/b].py" in shown
    assert "pages/[slug].tsx" in shown
    assert {record["path"] for record in agent.json("results")} == set(names)


def test_wrong_usage(agent: Agent, tmp_path: Path) -> None:
    assert_one_line(agent.run("ingest", tmp_path / "none"), 2, "does not exist")
    assert_one_line(agent.run("ingest", tmp_path, "--project-name", "x" * 101), 2, "project name")
    assert agent.run("ingest").returncode == 2
    assert agent.run("nonsense").returncode == 2
    assert_one_line(agent.run("dlq", "show", "x"), 2, "not a letter's id")
    assert_one_line(agent.run("dlq", "redrive"), 2, "--all")
    assert_one_line(agent.run("schema", "none"), 2, "there is no document none")


def test_wrong_settings(agent: Agent, repository: Path, tmp_path: Path) -> None:
    assert_one_line(
        agent.run("ingest", repository, "--inline-size-limit", "lots"), 3, "--inline-size-limit", "100KB"
    )
    assert_one_line(
        agent.run("ingest", repository, "--config", tmp_path / "none"), 3, "no configuration file"
    )
    (tmp_path / "archon.toml").write_text("[publish]\nbatch_sise = 1\n")
    assert_one_line(agent.run("config", "show", "--config", tmp_path / "archon.toml"), 3, "batch_sise")


def test_an_empty_repository_is_said(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = agent.run("ingest", tmp_path / "empty")
    assert done.returncode == 0
    assert done.stderr.startswith("there is nothing to ingest: no files")


def test_a_work_tree_of_untracked_files_says_how_to_take_them(agent: Agent, tmp_path: Path) -> None:
    root = commit(tmp_path / "r", {})
    (root / "new.py").write_text("x = 1\n")
    assert "--include-untracked" in agent.run("ingest", root).stderr
    assert "published 1 of 1" in agent.run("ingest", root, "--include-untracked").stdout


def test_an_unsafe_url_is_wrong_usage(agent: Agent) -> None:
    assert_one_line(agent.run("ingest", "--git-url", "ext::sh -c id"), 2, "is not a Git URL")


def test_an_ingestion_leaves_a_journal_without_the_secret_of_its_url(agent: Agent, tmp_path: Path) -> None:
    root = commit(tmp_path / "r", {"a.py": b"x = 1"})
    agent.run("ingest", root)
    agent.run("ingest", "--git-url", "https://user:hunter2@example.com/r.git")
    (journal,) = journals(agent.home / "data" / "journals")
    assert (journal.header.path, journal.header.consumes) == (str(root.resolve()), False)
    assert journal.outcome is not None
    assert (journal.outcome["state"], journal.outcome["published"]["files_published"]) == ("done", 1)
    assert FilesScanned(1, 5) in [recorded.event for recorded in events(journal)]


def test_a_skipped_fault_is_exit_code_1(agent: Agent, tmp_path: Path) -> None:
    root = commit(tmp_path / "r", {"big": b"x" * 3000, "small": b"x"})
    done = agent.run("ingest", root, "--inline-size-limit", "2000")
    assert done.returncode == 1
    assert "too large for every configured strategy" in done.stdout
    assert "big" in done.stdout


def test_a_corrupt_database(agent: Agent, repository: Path) -> None:
    agent.run("ingest", repository)
    agent.run("run", "--drain")
    for database in (agent.home / "data").glob("*.sqlite"):
        database.write_bytes(b"not a database at all" * 1000)
    assert_one_line(agent.run("ingest", repository), 4, "damaged")
    assert_one_line(agent.run("run", "--drain"), 4, "damaged")
    assert_one_line(agent.run("results"), 4, "damaged")


def test_a_full_disk(agent: Agent, tmp_path: Path) -> None:
    root = commit(tmp_path / "r", {f"{n}.txt": b"x" * 90_000 for n in range(20)})
    agent.run("results")

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    done = agent.run("ingest", root, before=limit)
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert "20 files are unpublished" in done.stderr
    assert agent.json("ingest", root)["files_published"] == 20


def test_a_broken_pipe(agent: Agent, repository: Path) -> None:
    agent.run("ingest", repository)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        agent.command("plan", repository, "--json"),
        env=agent.environment,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "archon: the reader of the output went away\n")


def test_an_unexpected_error_shows_no_traceback_without_debug(agent: Agent, repository: Path) -> None:
    (agent.home / "data").mkdir(parents=True)
    other = sqlite3.connect(agent.home / "data" / "results.sqlite")
    other.execute("CREATE TABLE other (x)")
    other.commit()
    other.close()
    assert_one_line(agent.run("results"), 3, "not the results index")
    for arguments in (("--debug", "results"), ("results", "--debug"), ("results", "--json", "--debug")):
        assert "Traceback" in agent.run(*arguments).stderr
    assert_one_line(agent.run("search", "--", "--debug"), 3, "not the results index")


def test_debug_may_follow_every_command(agent: Agent) -> None:
    assert agent.run("config", "show", "--debug").returncode == 0
    assert agent.run("dlq", "list", "--debug").returncode == 0
    assert "--debug" not in agent.run("dlq", "list", "--help").stdout
    assert "--debug" in agent.run("--help").stdout


def test_sigterm_drains_and_ends_well(agent: Agent, repository: Path) -> None:
    agent.run("ingest", repository)
    process = subprocess.Popen(
        agent.command("run", "--no-http", "--json"),
        env=agent.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watcher = Agent(agent.home)
    while not watcher.json("results"):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(output)["files_processed"] == 7
    assert agent.json("run", "--drain")["events"] == 0


def test_a_second_reader_is_refused_by_name(agent: Agent, repository: Path) -> None:
    agent.run("ingest", repository)
    first = subprocess.Popen(
        agent.command("run", "--no-http"),
        env=agent.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        while not agent.json("results"):
            assert first.poll() is None
        done = agent.run("run", "--drain")
        assert done.returncode == 3
        assert str(first.pid) in done.stderr
    finally:
        first.terminate()
        first.communicate(timeout=60)


@pytest.mark.slow
def test_kill_9_midway_and_again_gives_the_same_results(agent: Agent, tmp_path: Path) -> None:
    files = {f"m{n:04}.py": f"def f{n}():\n    return {n}\n".encode() * 60 for n in range(600)}
    root = commit(tmp_path / "r", files)
    agent.run("ingest", root, "--batch-size", "10")
    agent.run("results")
    process = subprocess.Popen(
        agent.command("run", "--no-http"),
        env=agent.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with closing(sqlite3.connect(agent.home / "data" / "results.sqlite")) as index:
        while index.execute("SELECT count(*) FROM files").fetchone()[0] == 0:
            assert process.poll() is None, process.communicate()[1]
    process.kill()
    process.communicate()
    assert 0 < len(agent.json("results")) < len(files)
    agent.json("run", "--drain")
    records = agent.json("results")
    assert {record["path"] for record in records} == files.keys()
    clean = Agent(tmp_path / "clean")
    clean.run("ingest", root)
    clean.run("run", "--drain")
    volatile = {"generated_at", "correlation_id"}
    assert [{k: v for k, v in record.items() if k not in volatile} for record in records] == [
        {k: v for k, v in record.items() if k not in volatile} for record in clean.json("results")
    ]


def test_the_first_interrupt_ends_a_command_that_has_nothing_to_finish(agent: Agent) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        servers = f"127.0.0.1:{silent.getsockname()[1]}"
        environment = {
            **agent.environment,
            "ARCHON_KAFKA_SERVERS": servers,
            "ARCHON_KAFKA_REACH_TIMEOUT": "1h",
        }
        process = subprocess.Popen(
            agent.command("dlq", "list", "--json"),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        peer, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        with peer:
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "archon: interrupted\n")


def test_a_closed_stdout_is_no_fault(agent: Agent) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *agent.command("results")],
        env=agent.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "unexpected" not in done.stderr
