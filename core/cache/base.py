"""A cache as commands and screens look at it, whatever it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from core.cache.counters import CacheStats

Order = Literal["size", "age"]
"""`size` is the largest first, `age` the least recently used first."""

Tell = Callable[[int, int], None]
"""Told how many entries are done, and of how many."""

WAITING_EVENTS: Final = 1000
"""Waiting events whose files are fetched ahead, unless another number is asked for."""


class Listed(NamedTuple):
    """An entry: a content, named by its SHA-256, or a clone, named by its URL.

    `used_ns` is when it was last used, since the epoch; `scope` the credential reference it was fetched with.
    """

    name: str
    bytes: int
    used_ns: int
    scope: str = ""

    def to_json(self) -> dict[str, Any]:
        """The published shape of an entry in `cache stats --json`; `last_used` is seconds since the epoch."""
        return {
            "name": self.name,
            "bytes": self.bytes,
            "last_used": self.used_ns / 1e9,
            "credential_ref": self.scope or None,
        }


@dataclass(frozen=True, slots=True)
class Checkup:
    """What `verify` found: entries read, and how many contents or packs were corrupt and are gone now."""

    entries: int
    bytes: int
    corrupt: int


class Cache(Protocol):
    """An opened cache. Every method blocks, and is safe beside other processes on the directory."""

    def stats(self) -> CacheStats:
        """The figures now."""
        ...

    def entries(self, limit: int, order: Order = "size") -> list[Listed]:
        """The first `limit` entries in that order."""
        ...

    def verify(self, tell: Tell = ...) -> Checkup:
        """Read every entry; what is corrupt goes. It counts as no use."""
        ...

    def clear(self) -> tuple[int, int]:
        """Remove every entry not in use; their number and bytes."""
        ...

    def close(self) -> None:
        """Write the counters down and close. Idempotent."""
        ...


def quiet(_done: int, _total: int) -> None:
    """Tells nobody."""
