"""The caches of this machine and of every agent, as the Cache screen shows them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from archon_tui.filters import Fields
from archon_tui.text import bar, sparkline
from archon_tui.widgets.painted import Line, Piece
from core import units
from core.cache.base import Listed, Order
from core.cache.counters import CacheStats
from core.fleet import Member

HERE = "this machine"
# Looks that a sparkline remembers, and the entries that are listed.
TREND = 40
LISTED = 20


@dataclass(frozen=True, slots=True)
class Opened:
    """A cache of this machine: its figures, and its first entries in an order."""

    stats: CacheStats
    listed: tuple[Listed, ...]
    order: Order = "size"


@dataclass(frozen=True, slots=True)
class CacheRow:
    """One cache of this machine (`opened`) or of an agent; figures that are None are not told.

    This machine counts since the directory was made, an agent counts `hits` and `lookups` since it started.
    """

    kind: str
    place: str
    hits: int
    lookups: int
    bytes: int
    max_bytes: int
    evictions: int | None = None
    corruptions: int | None = None
    entries: int | None = None
    causes: Mapping[str, int] | None = None
    stale: bool = False
    trend: tuple[float | None, ...] = ()
    opened: Opened | None = None
    since: datetime | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.place

    @property
    def rate(self) -> float | None:
        """Hits per lookup; None before the first."""
        return self.hits / self.lookups if self.lookups else None

    @property
    def style(self) -> str:
        return "dim" if self.stale else ""


FIELDS: Fields[CacheRow] = Fields(
    text=lambda row: f"{row.kind} {row.place}",
    size=lambda row: row.bytes,
    named={"type": lambda row: row.kind},
)


class Trends:
    """The hit rate between one look and the next, for every cache."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], tuple[object, int, int]] = {}
        self._rates: dict[tuple[str, str], deque[float | None]] = {}

    def add(self, key: tuple[str, str], look: object, hits: int, lookups: int) -> tuple[float | None, ...]:
        """Take a look; the rates so far, oldest first, None where nothing was looked up in between.

        `look` tells looks apart: one that was taken before adds nothing.
        """
        rates = self._rates.setdefault(key, deque(maxlen=TREND))
        last_look, last_hits, last_lookups = self._last.get(key, (look, hits, lookups))
        if look != last_look:
            # Fewer than before: the agent started again and counts from zero.
            if lookups < last_lookups:
                last_hits = last_lookups = 0
            asked = lookups - last_lookups
            rates.append((hits - last_hits) / asked if asked else None)
        self._last[key] = (look, hits, lookups)
        return tuple(rates)


def rows(
    caches: Mapping[str, Opened], look: object, fleet: Sequence[Member], trends: Trends
) -> tuple[CacheRow, ...]:
    """This machine's `caches` as of `look`, then those of the agents, by type."""
    found = [_here(kind, opened, look, trends) for kind, opened in caches.items()]
    for member in fleet:
        found += [
            CacheRow(
                kind,
                member.status.id,
                figures.hits,
                figures.hits + figures.misses,
                figures.bytes,
                figures.max_bytes,
                figures.evictions,
                figures.corruptions,
                figures.entries,
                figures.causes,
                stale=member.is_stale,
                trend=trends.add(
                    (kind, member.status.id), member.status.at, figures.hits, figures.hits + figures.misses
                ),
                since=member.status.started_at,
            )
            for kind, figures in sorted(member.status.caches.items())
        ]
    # Sorting keeps the order of equals, so each type begins with this machine.
    return tuple(sorted(found, key=lambda row: row.kind != "object"))


def _here(kind: str, opened: Opened, look: object, trends: Trends) -> CacheRow:
    stats = opened.stats
    lookups = stats.hits + sum(stats.misses.values())
    return CacheRow(
        kind,
        HERE,
        stats.hits,
        lookups,
        stats.bytes,
        stats.max_bytes,
        stats.evictions,
        stats.corruptions,
        stats.entries,
        stats.misses,
        trend=trends.add((kind, HERE), look, stats.hits, lookups),
        opened=opened,
    )


def hits_text(row: CacheRow) -> str:
    """`18,204/20,011`."""
    return f"{row.hits:,}/{row.lookups:,}"


def size_text(row: CacheRow) -> str:
    """`7.2 MB of 10.0 GB`; an agent that has told no cap has told no size."""
    return f"{units.size(row.bytes)} of {units.size(row.max_bytes)}" if row.max_bytes else units.UNKNOWN


def trend_text(row: CacheRow, width: int) -> str:
    """The hit rate of the last looks, blank where nothing was looked up."""
    # The scale ends at 100 %, not at the best rate that was seen.
    return sparkline((1.0, *row.trend), len(row.trend) + 1)[1:][-width:].rjust(width)


def headline(found: Sequence[CacheRow]) -> list[Line]:
    """Hits over lookups, by type, of all agents."""
    lines: list[Line] = []
    for kind in dict.fromkeys(row.kind for row in found):
        mine = [row for row in found if row.kind == kind]
        agents = [row for row in mine if row.opened is None and not row.stale]
        hits, lookups = sum(row.hits for row in agents), sum(row.lookups for row in agents)
        noun = "agent" if len(agents) == 1 else "agents"
        told: list[Piece] = [
            (f"{len(agents)} live {noun} · {hits:,}/{lookups:,} hits ", ""),
            (units.percent(hits, lookups), "bold"),
        ]
        lines.append(
            [(f" {kind:<7}", "bold"), *(told if agents else [("no live agent tells of one", "dim")])]
        )
    return lines


def detail(row: CacheRow, width: int) -> list[Line]:
    """A cache in full: how full, misses by cause, what is largest."""
    share = row.bytes / row.max_bytes if row.max_bytes else None
    lines: list[Line] = [
        [(f"{row.kind} cache", "bold"), (f" of {row.place}", "")],
        [
            ("size     ", "dim"),
            (f"{size_text(row)} ", ""),
            (bar(share, min(24, max(6, width - 40))), ""),
            (f" {units.percent(row.bytes, row.max_bytes)}", ""),
        ],
        [("hits     ", "dim"), (f"{hits_text(row)}  {units.percent(row.hits, row.lookups)}", "")],
    ]
    since = "the directory was made" if row.opened else "the agent started"
    if row.since:
        since = f"{since}, {row.since:%Y-%m-%d %H:%M UTC}"
    lines += [
        [("         ", ""), (f"since {since}", "dim")],
        [("misses   ", "dim"), (units.UNKNOWN if row.causes is None else causes(row.causes), "")],
        [
            ("evicted  ", "dim"),
            (units.count(row.evictions), ""),
            ("   corrupt ", "dim"),
            (units.count(row.corruptions), "fail" if row.corruptions else ""),
            ("   entries ", "dim"),
            (units.count(row.entries), ""),
        ],
    ]
    if row.opened is None:
        lines.append([("Misses by cause, evictions and corruptions: since its directory was made.", "dim")])
        return lines
    stats = row.opened.stats
    lines += [
        [("not kept ", "dim"), (causes(stats.uncached), "")],
        [("in       ", "dim"), (stats.directory, "dim")],
    ]
    if row.opened.listed:
        first = "largest first" if row.opened.order == "size" else "least recently used first"
        lines += [[], [(f"{'size':>9}  {'last used':<16}  entry, {first}", "dim")]]
        lines += [_entry(entry) for entry in row.opened.listed]
    return lines


def _entry(entry: Listed) -> Line:
    scope = f"  with {entry.scope}" if entry.scope else ""
    return [
        (f"{units.size(entry.bytes):>9}  ", ""),
        (_when(entry.used_ns), "dim"),
        (f"  {entry.name}", ""),
        (scope, "dim"),
    ]


def causes(counts: Mapping[str, int]) -> str:
    """`absent 1,801 · corrupt 2`, the most frequent first; `0` where there are none."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return " · ".join(f"{cause.replace('_', ' ')} {count:,}" for cause, count in ordered) or "0"


def _when(used_ns: int) -> str:
    return f"{datetime.fromtimestamp(used_ns / 1e9, UTC):%Y-%m-%d %H:%M}"


def document(row: CacheRow) -> dict[str, object]:
    """The shape that is exported: for this machine that of `archon-agent cache stats --json`."""
    return {
        "type": row.kind,
        "place": row.place,
        "hits": row.hits,
        "lookups": row.lookups,
        "hit_rate": row.rate,
        "bytes": row.bytes,
        "max_bytes": row.max_bytes,
        "entries": row.entries,
        "evictions": row.evictions,
        "corruptions": row.corruptions,
        "misses": None if row.causes is None else dict(row.causes),
        "stale": row.stale,
        **(row.opened.stats.to_json() if row.opened else {}),
    }
