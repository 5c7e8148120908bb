"""Which of the feasible strategies carries a file: the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from core.events.common import ContentStrategy
from core.repository.facts import FileFacts
from core.strategies.base import Feasibility


class Choice(NamedTuple):
    """A strategy to try, and why it and not another.

    `scores` are the expected costs of the feasible strategies in seconds; `confidence` (0 to 1) is that
    the cheapest is cheaper than what the rules choose, or than the next where they choose it. Only a
    learned selector has them. `instead_of` is the user's choice that cannot carry the file.
    """

    strategy: ContentStrategy
    why: str
    selector: str = "rules"
    scores: tuple[tuple[ContentStrategy, float], ...] = ()
    confidence: float | None = None
    instead_of: ContentStrategy | None = None


class Selector(Protocol):
    """Ranks the feasible strategies of a file."""

    name: str
    model_id: str | None
    reason: str | None

    @property
    def rules(self) -> RuleSelector:
        """The rules it falls back to."""
        ...

    def rank(
        self,
        facts: FileFacts,
        verdicts: Mapping[ContentStrategy, Feasibility],
        wanted: ContentStrategy | None,
    ) -> Sequence[Choice]:
        """Feasible strategies, best first; empty where none is. `wanted` is the user's explicit choice."""
        ...


class RuleSelector:
    """The design's rules: an explicit choice, then inline, then a Git reference, then object storage.

    `preferred` comes first of all where the source makes it natural: a Git URL is ingested by reference.
    """

    name = "rules"
    model_id: str | None = None

    def __init__(self, preferred: ContentStrategy | None = None, *, reason: str | None = None) -> None:
        """`reason` is why the rules choose and no model."""
        self.reason = reason
        order = (ContentStrategy.INLINE, ContentStrategy.GIT_REFERENCE, ContentStrategy.OBJECT_STORAGE)
        self._order = sorted(order, key=lambda name: name is not preferred)

    @property
    def rules(self) -> RuleSelector:
        """Itself."""
        return self

    def rank(
        self,
        facts: FileFacts,
        verdicts: Mapping[ContentStrategy, Feasibility],
        wanted: ContentStrategy | None,
    ) -> Sequence[Choice]:
        choices = [
            Choice(name, verdict.why)
            for name in self._order
            if (verdict := verdicts.get(name)) and verdict.feasible
        ]
        if wanted is None or not choices:
            return choices
        explicit = next((choice for choice in choices if choice.strategy is wanted), None)
        if explicit:
            others = [choice for choice in choices if choice is not explicit]
            return [Choice(wanted, f"chosen; {explicit.why}"), *others]
        refusal = verdicts[wanted].why if wanted in verdicts else "not configured"
        return [
            Choice(choice.strategy, f"{choice.why}; {wanted} not possible: {refusal}", instead_of=wanted)
            for choice in choices
        ]
