"""Whether a branch moved forward or was rewritten: asked of its host, in commits alone."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from core.errors import ArchonError
from core.git.incoming import disk_refusals
from core.git.pack_index import COMMIT
from core.git.packs import PackStore
from core.git.remote import NO_TREES
from core.git.session import HostSession

DEPTHS: Final = (50, 1000)
"""How many generations to ask for: mostly few commits came since the last look."""

_LIMIT_BYTES: Final = 8 << 20
_COMMIT_BYTES: Final = 1 << 20


class _TooMuch(Exception):
    """The host sends more than commits: it ignores the filter."""


def is_behind(session: HostSession, earlier: str, commit: str) -> bool | None:
    """Whether `earlier` is among the last 1,000 generations of `commit`.

    None where the host cannot tell it cheaply: it speaks an old protocol, or sends files unasked.
    Raises what `GitRemote.fetch` raises.
    """
    refs = session.refs(["HEAD"])
    if session.remote.protocol_version != 2:
        return None
    with (
        disk_refusals(),
        TemporaryDirectory(prefix="archon-history-") as directory,
        closing(PackStore(Path(directory), refs.object_format, _COMMIT_BYTES)) as packs,
    ):
        for depth in DEPTHS:
            try:
                _fetch(session, packs, commit, depth)
            except _TooMuch:
                return None
            if _reaches(packs, commit, earlier):
                return True
    return False


def _fetch(session: HostSession, packs: PackStore, commit: str, depth: int) -> None:
    arrived = 0

    def grow(size: int) -> None:
        nonlocal arrived
        arrived += size
        if arrived > _LIMIT_BYTES:
            raise _TooMuch

    with packs.receive() as incoming, session.exchange() as transfer:
        incoming.grow = grow
        session.remote.fetch([commit], incoming.write, depth=depth, object_filter=NO_TREES)
        packs.publish(incoming, transfer.check)


def _reaches(packs: PackStore, commit: str, earlier: str) -> bool:
    """Whether `earlier` is `commit` or one of its ancestors, as far as they are in `packs`."""
    waiting, met = deque([commit]), {commit}
    while waiting:
        oid = waiting.popleft()
        if oid == earlier:
            return True
        for parent in _parents(packs, oid):
            if parent not in met:
                met.add(parent)
                waiting.append(parent)
    return False


def _parents(packs: PackStore, oid: str) -> list[str]:
    try:
        kind, content = packs.read(oid)
    except (KeyError, ArchonError):
        return []
    header = content.partition(b"\n\n")[0] if kind == COMMIT else b""
    return [
        line.removeprefix(b"parent ").decode("ascii", "replace")
        for line in header.split(b"\n")
        if line.startswith(b"parent ")
    ]
