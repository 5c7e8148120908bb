"""An agent that ends itself as by kill -9 the first time it reaches a stage: AGENT_DIES_AT.

Stages: `poll` (events taken, nothing done), `resolve` (bytes there), `result` (records durable),
`commit` (everything durable, the offset not committed).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from archon_agent.main import main
from core.fetchers.resolver import Resolver
from core.log.kafka.consumer import KafkaConsumer
from core.results.topic import TopicSink

STAGES = ("poll", "resolve", "result", "commit")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies_after(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """`method`, and death once it gave something."""

    @wraps(method)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = await method(*args, **kwargs)
        if result is None or len(result):
            die()
        return result

    return wrapped


def dies_before(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Death in place of `method`, once there is something to do."""

    @wraps(method)
    async def wrapped(self: Any, offsets: Any) -> Any:
        if offsets:
            die()
        return await method(self, offsets)

    return wrapped


def arm(stage: str) -> None:
    """Let this process die at `stage`."""
    match stage:
        case "poll":
            KafkaConsumer.poll = dies_after(KafkaConsumer.poll)  # type: ignore[method-assign, assignment]
        case "resolve":
            Resolver.resolve = dies_after(Resolver.resolve)  # type: ignore[method-assign, assignment]
        case "result":
            TopicSink.write = dies_after(TopicSink.write)  # type: ignore[method-assign, assignment]
        case "commit":
            KafkaConsumer.commit = dies_before(KafkaConsumer.commit)  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    arm(os.environ["AGENT_DIES_AT"])
    main()
