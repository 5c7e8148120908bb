"""Small repositories for tests, made by the git command."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

FILES: Mapping[str, bytes] = {
    "app.py": b"def main():\n    return 1\n",
    "pkg/__init__.py": b"",
    "pkg/util.py": b"def helper(x):\n    if x:\n        return 2\n    return 3\n",
    "tests/test_app.py": b"def test():\n    assert True\n",
    "data/dot.bin": bytes(range(256)),
    "docs/latin.txt": "café au lait\n".encode("latin-1"),
    "README.md": "# Größe\n".encode(),
}


def git(root: Path, *arguments: str) -> str:
    """Run git in `root`, untouched by the user's configuration; what it printed."""
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@localhost",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@localhost",
    }
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def write(root: Path, files: Mapping[str, bytes]) -> None:
    """Write files below `root`."""
    for relative, content in files.items():
        path = root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def commit(root: Path, files: Mapping[str, bytes] = FILES) -> Path:
    """A work tree with `files` committed; an existing one gets another commit."""
    root.mkdir(parents=True, exist_ok=True)
    if not (root / ".git").exists():
        git(root, "init", "-q", "-b", "main")
    write(root, files)
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", "commit")
    return root
