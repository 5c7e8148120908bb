"""`archon-agent status`: every agent that speaks on the status topic."""

from __future__ import annotations

from typing import Any

from archon_agent import console
from archon_agent.help import App
from archon_agent.options import JsonFlag, Loaded, with_settings
from archon_agent.running import run_now
from core import units
from core.fleet import Member

app = App(help="Show the agents at work.")

COLUMNS = (
    "AGENT",
    "STATE",
    "HEARD",
    "PARTITIONS",
    "IN FLIGHT",
    "FILES/s",
    "FILES",
    "FAILED",
    "DEAD",
    "CACHE",
)


@app.command(examples=("archon-agent status --kafka-servers kafka:9092",))
@with_settings("log", "kafka")
def status(loaded: Loaded, as_json: JsonFlag = False) -> None:
    """Show every agent: what it has, how fast it is, and what it complains about."""
    members = run_now(lambda: _members(loaded))
    if as_json:
        console.print_json([document(member) for member in members])
        return
    if not members:
        console.say("no agent speaks on the status topic")
        return
    console.out.print(
        console.table(COLUMNS, [_row(member) for member in members], right=frozenset(COLUMNS[2:9]))
    )
    for member in members:
        if member.left_alone:
            text = f"  {member.status.id} leaves alone for now: {', '.join(member.left_alone)}"
            console.out.print(console.line(text))
        for error in member.status.last_errors:
            when = f"{error.at:%H:%M:%S}"
            console.out.print(console.line(f"  {member.status.id} {when} {error.message}"))


async def _members(loaded: Loaded) -> list[Member]:
    from core.assembly.stores import open_log
    from core.fleet import read_fleet

    async with open_log(loaded.settings) as log:
        return await read_fleet(log)


def state(member: Member) -> str:
    """Glyph and word: `✓ working`, `! stale`, `✗ blocked: …`, `! degraded`."""
    if member.is_stale:
        return "! stale"
    if member.status.blocked:
        return f"✗ blocked: {member.status.blocked}"
    return "! degraded" if member.left_alone else "✓ working"


def _row(member: Member) -> tuple[object, ...]:
    agent = member.status
    return (
        agent.id,
        state(member),
        units.duration(member.age_s),
        len(agent.partitions),
        agent.in_flight_events,
        f"{agent.files_per_s:,.1f}",
        f"{agent.files_processed:,}",
        f"{agent.files_failed:,}",
        f"{agent.dead_lettered:,}",
        ", ".join(
            f"{name} {cache.hits:,}/{cache.hits + cache.misses:,}"
            for name, cache in sorted(agent.caches.items())
        )
        or None,
    )


def document(member: Member) -> dict[str, Any]:
    """The published shape: the agent's status, with how old it is and whether it is stale."""
    agent = member.status.model_dump(mode="json")
    return {**agent, "age_seconds": round(member.age_s, 3), "stale": member.is_stale}
