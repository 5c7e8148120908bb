"""The plan of a repository as the dashboard works with it: streamed, changed, looked into."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from typing import Any

from archon_tui.backends import Backends
from archon_tui.chosen import Chosen
from archon_tui.models.plan import PlanRow, Totals, change_row, movement, row_of
from archon_tui.rows import SLICE_S
from core import units
from core.assembly.publishing import Ingestion, ingestion
from core.assembly.source import Target
from core.dry_run import DryRun
from core.errors import ArchonError
from core.events.common import ContentStrategy
from core.repository.facts import Skip
from core.safety.redact import redact
from core.settings import Settings
from core.strategies.selector import Choice
from core.summary import IngestSummary
from core.telemetry.cost import Usage, estimate, price, total

PEEK_BYTES = 64 << 10
PEEK_DEADLINE_S = 5.0
# Rows after which what was allocated is put out of the garbage collector's sight: a full collection
# over 50,000 rows holds the keyboard up for 0.1 s, over a million for 0.3 s.
FREEZE_EVERY = 5_000


class PlanWork:
    """One repository's plan. `rows` only grows while it streams; `version` counts changes for the screen."""

    def __init__(self, backends: Backends, chosen: Chosen) -> None:
        self.backends = backends
        self.chosen = chosen
        self.settings: Settings = backends.settings
        self.overrides: dict[str, ContentStrategy] = {}
        self.without: frozenset[ContentStrategy] = frozenset()
        self.configured: frozenset[ContentStrategy] = frozenset()
        self.rows: list[PlanRow] = []
        self.state = "planning"
        self.error: ArchonError | Exception | None = None
        self.started_at = backends.clock()
        self.first_rows_at: float | None = None
        self.ended_at: float | None = None
        self.version = 0
        self.commit: str | None = None
        self.branch: str | None = None
        self._base: dict[str, ContentStrategy | None] = {}
        self._run: DryRun | None = None
        self._limit = 0
        self._estimated = False
        self._cpu_s_per_byte: float | None = None
        self._changing = 0
        self._job: Ingestion | None = None
        self._stack = AsyncExitStack()
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def start(self) -> None:
        """Begin to plan."""
        self._task = asyncio.create_task(self._stream())

    @property
    def is_complete(self) -> bool:
        return self.state == "ready"

    @property
    def is_changed(self) -> bool:
        """Whether the person turned a knob or chose a strategy."""
        return bool(self.overrides or self.without) or self.settings is not self.backends.settings

    @property
    def selector(self) -> str:
        """What chooses among the feasible strategies: its name with its model, or why it has none."""
        if self._job is None:
            return units.UNKNOWN
        selector = self._job.planner.selector
        if selector.model_id:
            return f"{selector.name}, model {selector.model_id}"
        return f"{selector.name}: {selector.reason}" if selector.reason else selector.name

    def target(self) -> Target:
        """What to ingest, with the person's choices."""
        return self.chosen.target(self.overrides, self.without)

    @property
    def project(self) -> str:
        """The project that the files are published under."""
        return self._job.project_name if self._job else self.chosen.name

    def _summary(self) -> IngestSummary:
        return self._run.summary if self._run else IngestSummary(self.chosen.name)

    def usage(self) -> dict[ContentStrategy, Usage]:
        """What the plan is going to use at most, by strategy, as far as it has come."""
        return estimate(self._summary().by_strategy, self._cpu_s_per_byte)

    def totals(self) -> Totals:
        """The plan in figures, as far as it has come."""
        summary, usage = self._summary(), total(self.usage().values())
        return Totals(
            summary,
            self._limit,
            cost=price(usage, self.backends.settings.cost),
            drain_s=self._drain_s(summary),
            link_lifetime_s=self.settings.storage.link_lifetime,
            moved=movement(self.rows) if self.is_changed and self._base else {},
            complete=self.is_complete,
            estimated=self._estimated,
        )

    def _drain_s(self, summary: IngestSummary) -> float | None:
        """How long the agents need for the plan, at the rate they were last seen to work."""
        rate = self.backends.files_per_s
        return summary.files_published / rate if rate else None

    async def _stream(self) -> None:
        try:
            await self._open(self.settings)
            assert self._job  # noqa: S101 - just opened
            self.configured = frozenset(self._job.planner.strategies)
            self._cpu_s_per_byte = await self._job.costs.cpu_s_per_byte()
            run = self._run = DryRun(self._job.project_name, self._job.rules)
            frozen = 0
            async for chunk in self._job.planner.stream():
                run.take(chunk)
                self.rows += [row for item in chunk if (row := row_of(item)) is not None]
                if self.first_rows_at is None and self.rows:
                    self.first_rows_at = self.backends.clock()
                self.version += 1
                if len(self.rows) - frozen >= FREEZE_EVERY:
                    frozen = len(self.rows)
                    gc.freeze()
                await asyncio.sleep(0)
            run.finish()
            self.state = "ready"
        except Exception as error:  # noqa: BLE001 - the screen shows whatever ended the plan
            self.state, self.error = "failed", error
        finally:
            self.ended_at = self.backends.clock()
            self.version += 1

    async def _open(self, settings: Settings) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()
        opened = ingestion(settings, self.target(), show_unchanged=True)
        self._job = await self._stack.enter_async_context(opened)
        self._limit = self._job.rules.max_batch_bytes
        git = self._job.context.git
        self.commit, self.branch = (git.commit, git.branch) if git else (None, None)

    # What would be if

    async def change(
        self,
        *,
        settings: Settings | None = None,
        overrides: Mapping[str, ContentStrategy | None] | None = None,
        without: Collection[ContentStrategy] | None = None,
    ) -> None:
        """Choose again with other knobs, or other strategies for some files (None: the rules' choice).

        In slices, and the newest change wins. Raises what opening the repository raises.
        """
        self._changing += 1
        mine = self._changing
        for path, strategy in (overrides or {}).items():
            if strategy is None:
                self.overrides.pop(path, None)
            else:
                self.overrides[path] = strategy
        self.settings = settings or self.settings
        self.without = self.without if without is None else frozenset(without)
        if not self._base:
            self._base = {row.path: row.strategy for row in self.rows}
        async with self._lock:
            if mine != self._changing:
                return
            await self._open(self.settings)
            await self._choose_again(mine)

    async def _choose_again(self, mine: int) -> None:
        assert self._job  # noqa: S101 - just opened
        run = DryRun(self._job.project_name, self._job.rules)
        until = self.backends.clock() + SLICE_S
        for row in self.rows:
            if row.skip:
                run.take([row.skip])
            elif row.facts:
                known = row.encoded_size
                item = self._job.planner.reconsider(row.facts, encoded_size=known, unchanged=row.unchanged)
                change_row(row, item, self._base.get(row.path))
                run.take([item])
            if self.backends.clock() >= until:
                await asyncio.sleep(0)
                until = self.backends.clock() + SLICE_S
                if mine != self._changing:
                    return
        run.finish()
        self._run, self._estimated = run, True
        self.version += 1

    def verdicts(self, row: PlanRow) -> Mapping[ContentStrategy, Any]:
        """What every configured strategy says of a file."""
        return self._job.planner.verdicts(row.facts) if self._job and row.facts else {}

    def choice(self, row: PlanRow) -> Choice | None:
        """The choice for a file with its scores, which rows are too many to hold."""
        if self._job is None or row.facts is None or row.strategy is None:
            return None
        item = self._job.planner.reconsider(row.facts)
        return None if isinstance(item, Skip) else item.choices[0]

    async def peek(self, row: PlanRow) -> bytes | Skip:
        """The first 64 KiB of a file. Raises `TimeoutError` where the disk does not answer."""
        if self._job is None or row.facts is None:
            return b""
        async with asyncio.timeout(PEEK_DEADLINE_S):
            return await asyncio.to_thread(self._job.context.repository.read, row.facts.entry, PEEK_BYTES)

    @property
    def message(self) -> str:
        """What ended the plan, for a person."""
        return redact(str(self.error)) if self.error else ""

    async def close(self) -> None:
        """Stop planning and let the repository go."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._stack.aclose()
