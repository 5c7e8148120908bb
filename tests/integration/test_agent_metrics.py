"""What an agent's own metrics say of the partitions that it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.agent import Agent
from core.assembly.consuming import consuming
from core.assembly.stores import open_log
from core.events.topics import REQUESTED_V2
from core.log.base import OutgoingMessage
from core.settings import Settings, load
from core.telemetry.metrics import LagFigures

WAITING = OutgoingMessage(b"key", b"no event")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"home": tmp_path / "home", "agent.workers": 1}, environ={}).settings


@asynccontextmanager
async def paused_agent(settings: Settings) -> AsyncIterator[Agent]:
    """An agent at work that takes nothing."""
    stop = asyncio.Event()
    async with consuming(settings) as agent:
        agent.pause(True)
        running = asyncio.create_task(agent.run(drain=False, stop=stop))
        try:
            yield agent
        finally:
            stop.set()
            await running


def verdicts(agent: Agent) -> set[str]:
    """The verdicts on partitions, as the metrics have them."""
    return {
        sample.labels["verdict"]
        for family in agent.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "archon_consumer_lag_verdict" and sample.value
    }


def shown(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Is set when the agent has shown its lag."""
    show, done = agent.metrics.show_lag, asyncio.Event()

    def tell(partitions: Iterable[LagFigures], verdicts: Mapping[tuple[str, int], str] | None = None) -> None:
        show(partitions, verdicts)
        done.set()

    monkeypatch.setattr(agent.metrics, "show_lag", tell)
    return done


async def test_an_agent_that_starts_is_not_told_to_be_missing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its status says which partitions it has only some seconds later."""
    async with open_log(settings) as log:
        await log.publish(REQUESTED_V2, [WAITING])
    async with paused_agent(settings) as agent, asyncio.timeout(30):
        await shown(agent, monkeypatch).wait()
        seen = verdicts(agent)
    assert seen
    assert "stop" not in seen
