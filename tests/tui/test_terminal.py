"""The command in a real terminal: what it refuses, how it starts, and what reaches the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from core.journal import Header, Recorder
from core.progress import FilesScanned
from tests.tui.driving import HOSTILE
from tests.unit.test_journal import HEADER

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "archon_tui.main"]
PATIENCE_S = 60


def environment(home: Path) -> dict[str, str]:
    # COLUMNS and LINES would outdo the terminal's own size; pytest-xdist sets them.
    dropped = ("ARCHON_", "COV_", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "ARCHON_HOME": str(home), "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}


def refused(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=environment(home), capture_output=True, text=True, check=False, cwd=home
    )


def test_without_a_terminal_it_exits_2_with_one_line(tmp_path: Path) -> None:
    done = refused(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "archon: the dashboard needs a terminal (archon-agent does the same without)\n"


def test_version_and_help_need_no_terminal(tmp_path: Path) -> None:
    assert refused(tmp_path, "--version").stdout.startswith("archon-tui ")
    assert "--[no-]read-only" in refused(tmp_path, "--help").stdout


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    root = tmp_path / "hostile"
    for name in HOSTILE:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\x1b]52;c;b3duZWQ=\x07 = 1\n")
    return root


def spawn(home: Path, *arguments: str) -> pexpect.spawn[bytes]:
    """The command in a terminal of 110 by 30."""
    return pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], *arguments],
        env=environment(home),
        dimensions=(30, 110),
        timeout=PATIENCE_S,
    )


@pytest.fixture
def terminal(tmp_path: Path, hostile: Path) -> Iterator[pexpect.spawn[bytes]]:
    child = spawn(tmp_path / "home", str(hostile))
    yield child
    child.close(force=True)


def test_walking_the_screens_leaves_no_raw_byte_of_a_name(terminal: pexpect.spawn[bytes]) -> None:
    seen = bytearray()

    def expect(pattern: bytes) -> None:
        terminal.expect(pattern)
        seen.extend(terminal.before + terminal.after)

    expect(b"hostile")
    terminal.send("\r")
    expect(b"text up to")
    walk = (
        ("w", b"selector"),
        ("3", b"no run yet"),
        ("4", b"VERDICT"),
        ("5", b"LOOKUPS"),
        ("6", b"ONCE"),
        ("7", b"WHAT"),
        ("8", b"CHECK OR"),
        ("9", b"QUALITY"),
        ("1", b"REPOSITORY"),
        ("2", b"WHY"),
    )
    for key, word in walk:
        terminal.send(key)
        expect(word)
    terminal.send("q")
    terminal.expect(pexpect.EOF)
    seen.extend(terminal.before)
    terminal.wait()
    assert terminal.exitstatus == 0
    for raw in (b"\x1b[31mred", b"\x1b]52;c;aGk", b"\x1b]52;c;b3du", "\u202e".encode(), b"\xff.py"):
        assert raw not in bytes(seen)
    assert b"\\x1b[31mred.py" in bytes(seen)


def test_a_wrong_theme_ends_with_one_line(tmp_path: Path) -> None:
    child = spawn(tmp_path, "--theme", "neon")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 3
    assert b"there is no theme neon" in child.before
    assert b"Traceback" not in child.before


def test_a_journal_is_played(tmp_path: Path) -> None:
    header = Header(HEADER.project, "/x", "kafka", HEADER.started_at)
    with Recorder(tmp_path / "run.jsonl", header) as recorder:
        recorder(FilesScanned(4321, 1))
    child = spawn(tmp_path / "home", "--replay", str(tmp_path / "run.jsonl"))
    child.expect(b"4,321")
    child.send("q")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_a_crash_is_told_even_while_a_thread_cannot_be_ended(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(
        """
import asyncio, threading
from archon_tui.app import ArchonApp
from archon_tui.session import Session
from archon_tui.starting import leave_with
from core.settings import load

class Broken(ArchonApp):
    CSS_PATH = None
    async def run_async(self):
        asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
        raise RuntimeError("it broke")

session = Session(load({}).settings)
leave_with(asyncio.new_event_loop(), Broken(session), session)
"""
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stderr) == (
        1,
        "archon: unexpected RuntimeError: it broke (run again with --debug)\n",
    )
