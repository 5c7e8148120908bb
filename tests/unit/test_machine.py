"""What a container may use, read from control groups of either version, and caches that fit into it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from core import machine
from core.cache.cap import fitting_cap

GB = 1 << 30


def tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"memory.max": "1610612736\n"}, 1536 << 20),
        ({"memory.max": "max\n"}, None),
        ({"memory/memory.limit_in_bytes": "402653184\n"}, 384 << 20),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({}, None),
    ],
)
def test_the_memory_limit(tmp_path: Path, files: Mapping[str, str], limit: int | None) -> None:
    assert machine.memory_limit(tree(tmp_path, files)) == limit


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({}, 64),
    ],
)
def test_processors_honour_the_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Mapping[str, str], most: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(64)), raising=False)
    assert machine.processors(tree(tmp_path, files)) == most


def test_processors_where_the_system_has_no_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    assert machine.processors(tmp_path) >= 1


def test_a_directory_on_a_tmpfs_is_in_memory(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    place = str(tmp_path / "a b").replace(" ", "\\040")
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\ntmpfs {place} tmpfs rw 0 0\n")
    (tmp_path / "a b").mkdir()
    assert machine.is_in_memory(tmp_path / "a b" / "cache", mounts)
    assert not machine.is_in_memory(tmp_path / "other", mounts)
    assert not machine.is_in_memory(tmp_path, tmp_path / "none")


@pytest.mark.parametrize(
    ("in_memory", "limit", "volume", "cap"),
    [
        (True, 384 << 20, 4 * GB, 96 << 20),
        (True, None, 4 * GB, 2 * GB),
        (False, 384 << 20, 100 * GB, 2 * GB),
        (False, None, GB, int(0.9 * GB)),
    ],
)
def test_a_cache_fits_into_its_volume_and_into_memory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_memory: bool,
    limit: int | None,
    volume: int,
    cap: int,
) -> None:
    monkeypatch.setattr(machine, "is_in_memory", lambda _directory: in_memory)
    monkeypatch.setattr(machine, "memory_limit", lambda: limit)
    monkeypatch.setattr(machine, "volume_size", lambda _directory: volume)
    found = fitting_cap(tmp_path, 2 * GB)
    assert found.max_bytes == cap
    assert (found.why is None) == (cap == 2 * GB)
