"""How large a cache may really grow: never beyond its volume, never into memory that the container needs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from core import machine, units

VOLUME_SHARE = 0.9
MEMORY_SHARE = 0.25
"""Of the container's memory, for a cache on tmpfs: the rest is for the agent and its analysis processes."""


class Cap(NamedTuple):
    """The cap of a cache in bytes; `why` says why it is below the setting, None where it is not."""

    max_bytes: int
    why: str | None = None


def fitting_cap(directory: Path, wanted: int) -> Cap:
    """`wanted` bytes, or as much of it as the volume of `directory` can hold."""
    limit = machine.memory_limit()
    if limit is not None and machine.is_in_memory(directory) and wanted > MEMORY_SHARE * limit:
        capped = int(MEMORY_SHARE * limit)
        return Cap(capped, f"it is kept in memory (tmpfs), of which the container has {units.size(limit)}")
    size = machine.volume_size(directory)
    if size is not None and wanted > VOLUME_SHARE * size:
        return Cap(int(VOLUME_SHARE * size), f"its volume has {units.size(size)}")
    return Cap(wanted)


def lowered(name: str, wanted: int, cap: Cap, setting: str) -> str:
    """What to say of a cache whose cap was lowered: how far, why, and by which setting to say so."""
    return (
        f"the {name} cache keeps at most {units.size(cap.max_bytes)}, not {units.size(wanted)}: {cap.why}"
        f" (set {setting}, or give it a disk)"
    )
