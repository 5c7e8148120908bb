"""`archon-agent topics`: make the topics that archon needs on Kafka."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from archon_agent import console
from archon_agent.help import App
from archon_agent.options import JsonFlag, Loaded, with_settings
from archon_agent.running import run_now
from core.errors import ConfigurationError

app = App(help="Create and check the topics on Kafka.", no_args_is_help=True)


@app.callback()
def topics() -> None:
    """Create and check the topics on Kafka."""


@app.command()
@with_settings("log", "kafka")
def setup(
    loaded: Loaded,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what is missing, create nothing")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Create the topics that are missing; those that exist stay as they are, and differences are told."""
    result = run_now(lambda: _setup(loaded, dry_run))
    if as_json:
        console.print_json(result)
        return
    for name in result["created"]:
        console.out.print(console.line(f"{'would create' if dry_run else 'created'} {name}"))
    for entry in result["drift"]:
        found = f"{entry['topic']}: {entry['key']} is {entry['found']}"
        console.out.print(console.line(f"{found}, archon would choose {entry['wanted']}"))
    if not (result["created"] or result["drift"]):
        console.say(f"all {len(result['existing'])} topics are as they should be")


async def _setup(loaded: Loaded, dry_run: bool) -> dict[str, Any]:
    settings = loaded.settings
    if not settings.kafka.servers:
        raise ConfigurationError("the embedded log makes its topics itself", hint="see --kafka-servers")
    from core.log.kafka import KafkaLog
    from core.log.kafka.setup import drift, specs, too_few

    wanted = specs(settings.kafka, settings.log.topics)
    async with KafkaLog(settings.kafka) as log:
        existing = await log.admin.topics()
        counts = {topic: len(partitions) for topic, partitions in existing.items()}
        missing = [spec for spec in wanted if spec.name not in existing]
        if missing and not dry_run:
            await log.admin.create(missing, settings.kafka.replication)
        found = await log.admin.config(spec.name for spec in wanted if spec.name in existing)
    return {
        "created": [spec.name for spec in missing],
        "existing": [spec.name for spec in wanted if spec.name in existing],
        "drift": [
            {"topic": each.topic, "key": each.key, "wanted": each.wanted, "found": each.found}
            for each in [*too_few(wanted, counts), *drift(wanted, found)]
        ],
        "dry_run": dry_run,
    }
