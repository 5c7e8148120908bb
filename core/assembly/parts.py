"""Parts that publishing and consuming are both built with."""

from __future__ import annotations

from contextlib import AsyncExitStack

from core.assembly.stores import open_storage
from core.breaker import Breakers
from core.history.costs import Charge
from core.progress import Listener
from core.retry import RetryPolicy
from core.settings import Settings
from core.storage.base import ContentStorageClient
from core.telemetry.cost import Usage, price
from core.telemetry.metrics import Metrics


def new_breakers(settings: Settings, side: str, listener: Listener) -> Breakers:
    breaker = settings.breaker
    return Breakers(side, failures=breaker.failures, pause_s=breaker.pause, listener=listener)


def retry_policy(settings: Settings) -> RetryPolicy:
    return RetryPolicy(attempts=settings.agent.attempts, deadline_s=settings.agent.file_deadline)


async def storage_to_check(settings: Settings, stack: AsyncExitStack) -> ContentStorageClient | None:
    """The object storage, where it is more than a directory of this machine; closed with `stack`."""
    if settings.object_storage.provider in {"none", "local"} or not (storage := open_storage(settings)):
        return None
    stack.push_async_callback(storage.close)
    return storage


def charging(metrics: Metrics, settings: Settings) -> Charge:
    """Counts usage in dollars, at the rates of `settings`."""

    def charge(project: str, strategy: str, usage: Usage) -> None:
        metrics.charge(project, strategy, price(usage, settings.cost).known)

    return charge
