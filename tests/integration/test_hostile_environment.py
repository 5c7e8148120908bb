"""A sample of the suite passes whatever the environment and the home directory of the developer hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = (
    "tests/tui/test_snapshots.py",
    "tests/tui/test_terminal.py",
    "tests/unit/test_discover.py",
    "tests/unit/test_display.py",
    "tests/unit/test_help.py",
    "tests/unit/test_history.py",
    "tests/unit/test_settings.py",
    "tests/unit/test_storage_factory.py",
    "tests/unit/test_suite.py",
    "tests/unit/test_work_tree.py",
)
VARIABLES = {
    "NO_COLOR": "1",
    "FORCE_COLOR": "1",
    "CLICOLOR_FORCE": "1",
    "COLORTERM": "truecolor",
    "COLUMNS": "31",
    "LINES": "7",
    "TERM": "dumb",
    "TZ": "Pacific/Chatham",
    "LANG": "tr_TR.ISO-8859-9",
    "LC_ALL": "C",
    "LANGUAGE": "tr",
    "ARCHON_HOME": "/nonexistent",
    "ARCHON_BATCH_SIZE": "no number",
    "ARCHON_CONFIG": "/nonexistent.toml",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "CONTENT_STORAGE_PROVIDER": "s3",
    "CONTENT_CACHE_DIR": "/proc",
    "GIT_DIR": "/nonexistent",
    "GIT_WORK_TREE": "/nonexistent",
    "GIT_INDEX_FILE": "/nonexistent",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "core.autocrlf",
    "GIT_CONFIG_VALUE_0": "true",
    "AWS_PROFILE": "nobody",
    "AWS_REGION": "mars-1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
}
HOME = {
    ".gitconfig": "[core]\n\tautocrlf = true\n\texcludesFile = ~/ignore\n[init]\n\tdefaultBranch = trunk\n",
    "ignore": "*\n",
    ".config/archon/archon.toml": "this is no toml\n",
    ".config/git/ignore": "*\n",
    ".aws/config": "this is no configuration\n",
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sample_passes_in_a_hostile_environment(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name, text in HOME.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST_"))}
    hostile = {**kept, **VARIABLES, "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}
    command = (sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *SAMPLE)
    options = ("--basetemp", str(tmp_path / "sample"))
    done = subprocess.run([*command, *options], cwd=ROOT, env=hostile, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
