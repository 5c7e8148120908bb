"""Several `dlq redrive` commands at the same time send every letter once."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from collections import Counter
from pathlib import Path

from core.dead_letters import DeadLetters
from core.errors import InvalidEvent
from core.log.base import OutgoingMessage
from core.log.embedded import EmbeddedLog
from core.settings.model import load
from tests.integration.test_agent_command import Agent

LETTERS, COMMANDS = 60, 3


async def test_commands_at_the_same_time_send_every_letter_once(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    settings = load({"home": tmp_path}, environ={}).settings
    topic = settings.log.topics[0]
    path = settings.data_dir / "log.sqlite"
    path.parent.mkdir(parents=True)
    async with EmbeddedLog(path, partitions=settings.log.partitions) as log:
        dead = DeadLetters(log, settings.log.group, settings.log.topics)
        await log.publish(topic, [OutgoingMessage(b"%d" % n, b"poison %d" % n) for n in range(LETTERS)])
        for message in [each async for each in log.browse(topic)]:
            await dead.put(message, InvalidEvent("poison"), stage="decode")

    command = agent.command("dlq", "redrive", "--all", "--yes", "--json")
    running = [
        await asyncio.create_subprocess_exec(*command, env=agent.environment, stdout=PIPE, stderr=PIPE)
        for _ in range(COMMANDS)
    ]
    async with asyncio.timeout(120):
        ended = [await process.communicate() for process in running]
    assert [process.returncode for process in running] == [0] * COMMANDS, ended
    sent = Counter(letter for out, _ in ended for letter in json.loads(out)["redriven"])
    assert (len(sent), set(sent.values())) == (LETTERS, {1})
    async with EmbeddedLog(path) as log:
        values = Counter([message.value async for message in log.browse(topic)])
    assert set(values.values()) == {2}, "the original, and one redrive of it"
