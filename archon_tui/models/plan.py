"""The plan as the Plan screen shows it: rows, totals, and what moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from archon_tui.filters import Fields
from archon_tui.text import LETTERS, bar
from archon_tui.widgets.painted import Line, Piece
from core import units
from core.events.common import ContentStrategy
from core.planner import PlanItem, PlannedFile, Unchanged
from core.repository.facts import FileFacts, Skip
from core.strategies.base import Feasibility
from core.strategies.selector import Choice
from core.summary import IngestSummary
from core.telemetry.cost import Cost, usd

STYLES = {
    ContentStrategy.INLINE: "inline",
    ContentStrategy.OBJECT_STORAGE: "storage",
    ContentStrategy.GIT_REFERENCE: "git",
}
WORDS = {
    ContentStrategy.INLINE: "inline",
    ContentStrategy.OBJECT_STORAGE: "object storage",
    ContentStrategy.GIT_REFERENCE: "Git reference",
}


@dataclass(slots=True)
class PlanRow:
    """A file of the plan. `strategy` is None where it is skipped; `was` is what it was before a change.

    `skip` is set where the planner never got to choose; such a row stays as it is.
    """

    path: str
    size: int | None
    language: str | None
    strategy: ContentStrategy | None
    why: str
    facts: FileFacts | None = None
    encoded_size: int | None = None
    unchanged: bool = False
    is_fault: bool = False
    others: tuple[ContentStrategy, ...] = ()
    was: ContentStrategy | None = None
    moved: bool = False
    skip: Skip | None = None

    @property
    def kind(self) -> str:
        """The strategy's name, `unchanged` or `skip`: what `strategy:` filters on."""
        if self.strategy is None:
            return "skip"
        return "unchanged" if self.unchanged else str(self.strategy)

    @property
    def badge(self) -> Piece:
        """The letter of the first column."""
        if self.strategy is None:
            return ("!", "warn") if self.is_fault else ("–", "dim")
        if self.unchanged:
            return ("=", "dim")
        letter = LETTERS[self.strategy]
        return (f"{letter}◆" if self.moved else letter, STYLES[self.strategy])


def row_of(item: PlanItem) -> PlanRow | None:
    """The row of an item; None for one that a plan without unchanged files passes over."""
    if isinstance(item, Skip):
        why, seen = item.detail or item.reason.sentence, item.facts
        fault = item.reason.is_fault
        if seen is None:
            return PlanRow(item.path, None, None, None, why, is_fault=fault, skip=item)
        return PlanRow(item.path, seen.size, seen.language, None, why, seen, is_fault=fault)
    if isinstance(item, Unchanged):
        return None
    facts = item.facts
    return PlanRow(
        facts.path,
        facts.size,
        facts.language,
        item.strategy,
        "unchanged since its last ingestion" if item.unchanged else item.why,
        facts,
        item.encoded_size if item.encoded is not None else None,
        item.unchanged,
        others=tuple(choice.strategy for choice in item.choices[1:]),
    )


def change_row(row: PlanRow, item: PlannedFile | Skip, before: ContentStrategy | None) -> None:
    """Give a row another choice; `before` is the one it is compared with."""
    if isinstance(item, Skip):
        row.strategy, row.why, row.others = None, item.detail or item.reason.sentence, ()
        row.is_fault = item.reason.is_fault
    else:
        row.strategy, row.why, row.is_fault = item.strategy, item.why, False
        row.others = tuple(choice.strategy for choice in item.choices[1:])
        if item.unchanged:
            row.why = "unchanged since its last ingestion"
    row.was = before
    row.moved = row.strategy is not before


_WORDS_OF_KIND = {"object_storage": "object_storage storage"}
FIELDS: Fields[PlanRow] = Fields(
    text=lambda row: row.path,
    size=lambda row: row.size,
    named={
        "strategy": lambda row: _WORDS_OF_KIND.get(row.kind, row.kind),
        "lang": lambda row: row.language or "",
        "why": lambda row: row.why,
        "is": lambda row: " ".join(_traits(row)),
    },
)


def _traits(row: PlanRow) -> Iterator[str]:
    """What `is:` can ask for."""
    if row.moved:
        yield "moved"
    if row.is_fault:
        yield "fault"
    if row.unchanged:
        yield "unchanged"
    if facts := row.facts:
        yield "binary" if facts.is_binary else "text"
        if facts.is_test:
            yield "test"
        if facts.is_generated:
            yield "generated"
        if facts.is_vendored:
            yield "vendored"


@dataclass(frozen=True)
class Totals:
    """The plan in figures. `moved` is how many files each strategy gained or lost by a change."""

    summary: IngestSummary
    limit: int
    cost: Cost | None = None
    drain_s: float | None = None
    link_lifetime_s: float | None = None
    moved: Mapping[ContentStrategy, int] = field(default_factory=dict)
    complete: bool = False
    estimated: bool = False


def movement(rows: Iterable[PlanRow]) -> dict[ContentStrategy, int]:
    """Files gained and lost by strategy, of rows that were changed."""
    moved: Counter[ContentStrategy] = Counter()
    for row in rows:
        if row.moved:
            if row.strategy:
                moved[row.strategy] += 1
            if row.was:
                moved[row.was] -= 1
    return dict(moved)


def cost_text(cost: Cost | None) -> str:
    """`≤ $0.0021 + $0.0004/month`; says so where the CPU time is not known."""
    if cost is None:
        return units.UNKNOWN
    monthly = f" + {usd(cost.storage_month)}/month"
    if cost.once is not None:
        return f"{_at_most(cost.once)}{monthly}"
    return f"{_at_most(cost.transfer + cost.requests)} without CPU{monthly}"


def _at_most(amount: float) -> str:
    text = usd(amount)
    return text if text.startswith("<") else f"≤ {text}"


def figures(totals: Totals, width: int) -> list[Line]:
    """The two lines under the list."""
    summary = totals.summary
    first: list[Piece] = [(" Σ ", "bold")]
    for strategy, letter in LETTERS.items():
        files = summary.by_strategy[strategy].files if strategy in summary.by_strategy else 0
        shift = totals.moved.get(strategy, 0)
        arrow = f" {'▲' if shift > 0 else '▼'}{abs(shift):,}" if shift else ""
        first += [(letter, STYLES[strategy]), (f" {files:,}{arrow}   ", "")]
    faults = len(summary.faults)
    first.append((f"! {faults:,}", "warn" if faults else "dim"))
    if other := len(summary.skipped) - faults:
        first.append((f"   – {other:,} skipped", "dim"))
    if summary.files_unchanged:
        first.append((f"   = {summary.files_unchanged:,} unchanged", "dim"))
    approx = "≈ " if totals.estimated else ""
    share = summary.largest_message_bytes / totals.limit if totals.limit else None
    style = "warn" if share is not None and share > 0.9 else ""
    gauge: list[Piece] = [
        ("largest message ", "dim"),
        (bar(share, 10), style),
        (f" {approx}{units.size(summary.largest_message_bytes)} of {units.size(totals.limit)} ", ""),
    ]
    second: list[Piece] = [
        (" cost ", "dim"),
        (cost_text(totals.cost), ""),
        ("   drain ", "dim"),
        (units.duration(totals.drain_s), ""),
    ]
    lifetime = totals.link_lifetime_s
    if lifetime is not None and ContentStrategy.OBJECT_STORAGE in summary.by_strategy:
        late = totals.drain_s is not None and totals.drain_s > lifetime
        second += [("   links live ", "dim"), (units.duration(lifetime), "fail" if late else "")]
        if late:
            second.append((" ! shorter than the drain", "fail"))
    return _beside(first, gauge, second, width)


def _beside(first: list[Piece], gauge: list[Piece], second: list[Piece], width: int) -> list[Line]:
    """The gauge at the right end of the first line where it has room, else of the second or a third."""

    def cells(line: list[Piece]) -> int:
        return sum(len(text) for text, _ in line)

    for number, line in enumerate((first, second)):
        gap = width - cells(line) - cells(gauge)
        if gap >= 2:
            joined = [*line, (" " * gap, ""), *gauge]
            return [joined, second] if number == 0 else [first, joined]
    return [first, [(" ", ""), *gauge], second]


def why_lines(
    row: PlanRow,
    verdicts: Mapping[ContentStrategy, Feasibility],
    selector: str,
    choice: Choice | None = None,
) -> list[Line]:
    """Each strategy, feasible or not, why, and what it is expected to cost; then what was chosen."""
    expected = dict(choice.scores) if choice else {}
    lines: list[Line] = [[(row.path, "bold")], []]
    for strategy in LETTERS:
        verdict = verdicts.get(strategy)
        chosen = strategy is row.strategy
        if verdict is None:
            glyph: Piece = ("– ", "dim")
            reason: Piece = ("not configured", "dim")
        else:
            glyph = ("✓ ", "ok") if verdict.feasible else ("✗ ", "dim")
            figure = f", expected {units.precise(expected[strategy])}" if strategy in expected else ""
            reason = (verdict.why + figure, "" if verdict.feasible else "dim")
        lines.append(
            [
                ("▸" if chosen else " ", "accent"),
                glyph,
                (f"{WORDS[strategy]:<15}", STYLES[strategy] if chosen else ""),
                reason,
            ]
        )
    lines.append([])
    if row.strategy is None:
        lines.append([("skipped: ", "warn" if row.is_fault else "dim"), (row.why, "")])
    else:
        lines.append(
            [("chosen: ", "dim"), (WORDS[row.strategy], STYLES[row.strategy]), (" – ", "dim"), (row.why, "")]
        )
    if row.moved:
        was = WORDS[row.was] if row.was else "skipped"
        lines.append([("before the change: ", "dim"), (was, "")])
    if row.others:
        others = ", then ".join(WORDS[other] for other in row.others)
        lines.append([("stands in if that fails: ", "dim"), (others, "")])
    confidence = "" if choice is None or choice.confidence is None else f", {choice.confidence:.0%} sure"
    lines.append([("selector: ", "dim"), (selector + confidence, "")])
    if facts := row.facts:
        lines += [
            [],
            [("size       ", "dim"), (f"{facts.size:,} B", "")],
            [("language   ", "dim"), (facts.language or "–", "")],
            [("encoding   ", "dim"), (facts.encoding or ("binary" if facts.is_binary else "–"), "")],
            [("test       ", "dim"), ("yes" if facts.is_test else "no", "")],
            [("generated  ", "dim"), ("yes" if facts.is_generated else "no", "")],
            [("checksum   ", "dim"), (facts.checksum or "– (read when packed)", "")],
            [("blob       ", "dim"), (facts.entry.blob or "–", "")],
        ]
    return lines
