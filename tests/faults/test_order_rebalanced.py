"""Agents come, go and are cut off while requests for the same paths arrive: the newest request stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.consumer import Consumer, RunSummary
from core.errors import AnalysisFailed
from core.events.record import Analysis
from core.fetchers.inline import InlineFetcher
from core.fetchers.resolver import Resolver
from core.intelligence.base import FileToAnalyze
from core.log.embedded import EmbeddedLog
from core.log.kafka import KafkaLog
from core.processor import RequestProcessor
from core.results.base import ResultSink
from core.results.index import ResultsIndex
from core.results.topic import TopicSink
from tests.faults.order_world import SOURCE, Analyzer, World
from tests.servers.kafka import GROUP, Broker

PATIENCE_S = 60.0
PATHS = st.sampled_from(["a.py", "b.py"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), PATHS),
        st.tuples(st.just("delete"), PATHS),
        st.tuples(st.just("join")),
        st.tuples(st.just("leave")),
        st.tuples(st.just("cut off")),
        st.tuples(st.just("go on"), st.integers(1, 30)),
    ),
    max_size=20,
)


@asynccontextmanager
async def quick_world() -> AsyncIterator[World]:
    """An embedded log whose partitions move within a fraction of a second."""
    with TemporaryDirectory() as directory:
        home = Path(directory)
        async with (
            EmbeddedLog(home / "log.sqlite", partitions=2, session_timeout_s=0.3) as log,
            ResultsIndex(home / "r.db") as index,
        ):
            yield World(log, index)


class Uneven(Analyzer):
    """Analyses of earlier versions take longer than those of later ones."""

    def __init__(self) -> None:
        super().__init__()
        self._turns = 40

    async def analyze_many(self, files: Sequence[FileToAnalyze]) -> Sequence[Analysis | AnalysisFailed]:
        self._turns = max(0, self._turns - 4)
        for _ in range(self._turns):
            await asyncio.sleep(0)
        return await super().analyze_many(files)


class Fleet:
    """Agents of one group. Without a shared index only the order of their steps keeps the topic right."""

    def __init__(self, world: World, *, shared_index: bool) -> None:
        self._world = world
        self._shared_index = shared_index
        self._running: list[tuple[asyncio.Task[RunSummary], asyncio.Event]] = []
        self._joined = 0

    def join(self, *, drain: bool = False) -> asyncio.Task[RunSummary]:
        world = self._world
        self._joined += 1
        topic = TopicSink(world.log, SOURCE)
        sinks: list[ResultSink] = [topic, world.index] if self._shared_index else [topic]
        processor = RequestProcessor(
            world.log, Resolver([InlineFetcher()]), Uneven(), sinks, world.letters, SOURCE, attempts=1
        )
        consumer = Consumer(
            world.log, processor, group=world.project, topics=[world.topic], member_id=f"agent-{self._joined}"
        )
        stop = asyncio.Event()
        task = asyncio.create_task(consumer.run(drain=drain, stop=stop))
        self._running.append((task, stop))
        return task

    async def leave(self, *, cut_off: bool = False) -> None:
        """The agent that joined first stops; when cut off, it leaves what it has begun."""
        if self._running:
            task, stop = self._running.pop(0)
            stop.set()
            if cut_off:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def drain(self) -> None:
        """Another agent works beside the others until nothing waits."""
        async with asyncio.timeout(PATIENCE_S):
            await self.join(drain=True)

    async def end(self) -> None:
        """All leave."""
        while self._running:
            await self.leave()


async def do(step: tuple[object, ...], world: World, fleet: Fleet) -> None:
    match step:
        case ("publish", str(path)):
            await world.publish(path)
        case ("delete", str(path)):
            await world.publish(path, deleted=True)
        case ("join",):
            if isinstance(world.log, EmbeddedLog):  # gives a partition away only once its reader is gone
                await fleet.end()
            fleet.join()
        case ("leave",):
            await fleet.leave()
        case ("cut off",):
            await fleet.leave(cut_off=True)
        case ("go on", int(turns)):
            for _ in range(turns):
                await asyncio.sleep(0)


async def play(world: World, steps: Sequence[tuple[object, ...]], *, shared_index: bool) -> None:
    fleet = Fleet(world, shared_index=shared_index)
    await world.publish("a.py")  # makes the topic
    try:
        for step in steps:
            await do(step, world, fleet)
        if isinstance(world.log, EmbeddedLog):
            await fleet.end()
        await fleet.drain()
    finally:
        await fleet.end()
    assert await world.in_topic() == world.newest
    if shared_index:
        assert await world.in_index() == world.newest


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.booleans())
def test_the_newest_request_stands_after_any_rebalance(
    steps: Sequence[tuple[object, ...]], shared_index: bool
) -> None:
    async def run() -> None:
        async with quick_world() as world:
            await play(world, steps, shared_index=shared_index)

    asyncio.run(run())


async def test_versions_that_are_analysed_out_of_order_are_written_in_order() -> None:
    async with quick_world() as world:
        for _ in range(12):
            await world.publish("a.py")
        await play(world, [], shared_index=False)


@asynccontextmanager
async def kafka_world(broker: Broker, home: Path) -> AsyncIterator[World]:
    settings = broker.settings(create_topics=True, partitions=2, session_timeout="6s")
    async with KafkaLog(settings) as log, ResultsIndex(home / "r.db") as index:
        yield World(log, index)


@pytest.mark.slow
@pytest.mark.xdist_group(GROUP)
async def test_on_kafka_too(kafka_groups: Broker, tmp_path: Path) -> None:
    versions: list[tuple[object, ...]] = [("publish", "a.py"), ("publish", "b.py"), ("publish", "a.py")]
    steps = [*versions, ("join",), *versions, ("join",), ("delete", "b.py"), ("cut off",), *versions]
    async with kafka_world(kafka_groups, tmp_path) as world:
        await play(world, steps, shared_index=False)
