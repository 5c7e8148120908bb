"""Reach Kafka before using it, and where that fails say which address failed, and why."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.protocol.metadata import MetadataRequest

from core.errors import BackendUnavailable
from core.log.kafka.errors import cause_of

logger = logging.getLogger(__name__)

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker by the address it advertises."""

    node_id: int
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a broker says of its cluster; `cluster_id` is empty where it has none."""

    cluster_id: str
    brokers: tuple[Broker, ...]


async def reach(servers: Sequence[str], options: Mapping[str, Any], timeout_s: float) -> Cluster:
    """The cluster, after at least one of its brokers answered at the address it advertises.

    Raises `BackendUnavailable` naming every address that failed with its cause: refused, TLS, login,
    or a broker that advertises an address that cannot be reached from here.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    failures: list[str] = []
    for host, port, _family in collect_hosts(list(servers), randomize=False):
        try:
            async with asyncio.timeout_at(deadline):
                cluster = await _ask(host, port, options)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is why this address failed
            failures.append(f"{host}:{port}: {cause_of(error)}")
        else:
            await _reach_advertised(cluster.brokers, f"{host}:{port}", options, deadline)
            return cluster
    raise BackendUnavailable(
        f"Kafka cannot be reached: {'; '.join(failures)}", hint="see --kafka-servers and the kafka table"
    )


async def _ask(host: str, port: int, options: Mapping[str, Any]) -> Cluster:
    connection = await create_conn(host, port, **options)
    try:
        metadata = await connection.send(MetadataRequest([]))
        brokers = tuple(Broker(node[0], node[1], node[2]) for node in metadata.brokers)
        return Cluster(getattr(metadata, "cluster_id", None) or "", brokers)
    finally:
        await _closed(connection)


async def _reach_advertised(
    brokers: Sequence[Broker], asked: str, options: Mapping[str, Any], deadline: float
) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def attempt(broker: Broker) -> str | None:
        try:
            async with gate, asyncio.timeout_at(deadline):
                await _closed(await create_conn(broker.host, broker.port, **options))
        except Exception as error:  # noqa: BLE001 - as above
            return f"broker {broker.node_id} advertises {broker}: {cause_of(error)}"
        return None

    failures = [failure for failure in await asyncio.gather(*map(attempt, brokers)) if failure]
    if len(failures) == len(brokers):
        raise BackendUnavailable(
            f"Kafka answers at {asked}, but {'; '.join(failures) or 'names no broker'}",
            hint="set the broker's advertised.listeners to an address that this machine reaches",
        )
    for failure in failures:
        logger.warning("%s", failure)


async def _closed(connection: Any) -> None:
    """Close `connection` and wait until it is."""
    if (closing := connection.close()) is not None:
        await closing
