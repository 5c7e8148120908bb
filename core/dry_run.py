"""What publishing would do, without doing it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from core.batches import Batch, BatchesByPartition, PackedFile
from core.planner import PlanItem, PlannedFile, Unchanged
from core.publisher import MESSAGE_OVERHEAD, PublishRules
from core.repository.facts import Skip
from core.summary import IngestSummary


class DryRun:
    """What `Publisher.publish` would do with a plan, as far as the plan knows; nothing is sent."""

    def __init__(self, project_name: str, rules: PublishRules) -> None:
        self.summary = IngestSummary(project_name)
        room = rules.max_batch_bytes - MESSAGE_OVERHEAD
        self._batches = BatchesByPartition(project_name, rules.partitions or 1, rules.batch_size, room)

    def take(self, chunk: Sequence[PlanItem]) -> None:
        """Count the next items of the plan; what does not fill a batch yet waits."""
        self.summary.files_discovered += len(chunk)
        for item in chunk:
            if isinstance(item, Skip):
                self.summary.skipped.append(item)
            elif isinstance(item, Unchanged) or item.unchanged:
                self.summary.files_unchanged += 1
            else:
                self._add(
                    self._batches.add(
                        PackedFile(item.facts, item.strategy, item.encoded_size, None, None, None, ())
                    )
                )

    def finish(self) -> IngestSummary:
        """Count the last batch; the whole."""
        self._add(self._batches.flush())
        return self.summary

    def _add(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self.summary.add_batch(batch, batch.encoded_bytes + MESSAGE_OVERHEAD)


async def dry_run(
    plan: AsyncIterator[list[PlanItem]],
    project_name: str,
    rules: PublishRules,
    *,
    each: Callable[[PlannedFile], None] | None = None,
) -> IngestSummary:
    """The summary of a `DryRun` of the whole plan.

    `each` sees every planned file, unchanged ones included where the plan has them.
    """
    run = DryRun(project_name, rules)
    async for chunk in plan:
        run.take(chunk)
        for item in chunk if each else ():
            if each and isinstance(item, PlannedFile):
                each(item)
    return run.finish()
