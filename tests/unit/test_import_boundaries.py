"""What importing a part of the house loads, seen from a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def loaded_by(*modules: str) -> set[str]:
    """Top-level packages in `sys.modules` after importing `modules` in a process of their own."""
    code = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def modules_of(package: str) -> list[str]:
    paths = sorted((ROOT / package).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


def test_core_loads_no_face() -> None:
    assert not loaded_by(*modules_of("core")) & {"rich", "typer", "textual", "archon_agent", "archon_tui"}


def test_the_agent_loads_no_textual() -> None:
    assert not loaded_by(*modules_of("archon_agent")) & {"textual", "archon_tui"}


@pytest.mark.parametrize("heavy", ["pydantic", "typer", "dulwich", "aiokafka", "aioboto3"])
def test_the_entry_point_is_light(heavy: str) -> None:
    assert heavy not in loaded_by("archon_agent.main")
