"""The embedded log keeps the contract."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from core.log.base import EventLog
from core.log.embedded import EmbeddedLog
from tests.contract.event_log import EventLogContract, LogFactory


class TestEmbeddedLog(EventLogContract):
    shares_partitions = False

    @pytest.fixture
    def log_factory(self, tmp_path: Path) -> LogFactory:
        return partial(EmbeddedLog, tmp_path / "log.db")

    async def create_topic(self, log: EventLog, topic: str, partitions: int) -> None:
        assert isinstance(log, EmbeddedLog)
        await log.create_topic(topic, partitions)
