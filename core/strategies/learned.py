"""Which of the feasible strategies carries a file: the cheapest as the history tells it, where it is sure."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from core import units
from core.events.common import ContentStrategy
from core.repository.facts import FileFacts
from core.safety.path import to_bytes
from core.strategies.base import Feasibility
from core.strategies.model import Compiled, Expected, Model, compiled, expect, features_of, tree_key
from core.strategies.selector import Choice, RuleSelector

MARGIN: Final = 0.10
"""Share by which the model's choice must be expected cheaper than the rules' to be preferred."""

CERTAINTY: Final = 1.64
"""Standard errors by which it must be: 95 % one-sided."""

BUDGET_S: Final = 20e-6
WARM_UP_FILES: Final = 1000


class _Ranking(NamedTuple):
    """What is made of leaves of the trees, of which there are few: once for all files that meet there."""

    order: Sequence[ContentStrategy]
    scores: tuple[tuple[ContentStrategy, float], ...]
    confidence: float
    why: str


class LearnedSelector:
    """Ranks by expected total cost; the rules' order stands wherever the model has no better knowledge."""

    name = "learned"
    reason: str | None = None

    def __init__(
        self,
        model: Model,
        backends: Mapping[ContentStrategy, str],
        rules: RuleSelector,
        *,
        explore: float = 0.0,
        seed: int = 0,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """`backends` are the labels that the history knows the strategies' backends by. `explore` is the
        share of files, picked by `seed`, that go by another feasible strategy than the best. `clock` is of
        CPU time: a busy machine must not count against the model.
        """
        self.model_id: str | None = model.id
        self.rules = rules
        self._explore = explore
        self._seed = seed.to_bytes(8, signed=True)
        self._clock = clock
        self._few = f"fewer than {model.trained.min_files:,} observations"
        trees = compiled(model)
        self._trees: dict[ContentStrategy, Compiled] = {
            strategy: trees[key]
            for strategy, backend in backends.items()
            if (key := tree_key(strategy, backend)) in trees
        }
        self._rankings: dict[tuple[tuple[ContentStrategy, Expected], ...], _Ranking] = {}
        self._spent_s = 0.0
        self._files = 0

    @property
    def too_slow(self) -> bool:
        """Whether choosing, words included, took more than `BUDGET_S` a file so far."""
        return self._files >= WARM_UP_FILES and self._spent_s > BUDGET_S * self._files

    def rank(
        self,
        facts: FileFacts,
        verdicts: Mapping[ContentStrategy, Feasibility],
        wanted: ContentStrategy | None,
    ) -> Sequence[Choice]:
        ruled = self.rules.rank(facts, verdicts, wanted)
        if wanted is not None or len(ruled) < 2:
            return ruled
        if self.too_slow:
            return _by_rules(ruled, f"predicting takes over {BUDGET_S * 1e6:.0f} µs a file")
        started = self._clock()
        ranked = self._predicted(facts, ruled)
        self._files += 1
        self._spent_s += self._clock() - started
        return ranked

    def _predicted(self, facts: FileFacts, ruled: Sequence[Choice]) -> Sequence[Choice]:
        if facts.entry.unread:
            return _by_rules(ruled, "the file's size and encoding are not known")
        features = features_of(facts.size, facts.encoding)
        log2_size, kind = features[0], features[1:]
        expected: list[tuple[ContentStrategy, Expected]] = []
        for choice in ruled:
            tree = self._trees.get(choice.strategy)
            if tree is None:
                return _by_rules(ruled, f"{self._few} of {choice.strategy} at this backend")
            if not tree.knows(log2_size, kind):
                return _by_rules(ruled, f"no file of this size and kind was seen by {choice.strategy} yet")
            expected.append((choice.strategy, expect(tree.root, features)))
        key = tuple(expected)
        ranking = self._rankings.get(key)
        if ranking is None:
            ranking = self._rankings[key] = self._ranking(key)
        return self._chosen(facts, {choice.strategy: choice for choice in ruled}, ranking)

    def _ranking(self, ruled: Sequence[tuple[ContentStrategy, Expected]]) -> _Ranking:
        """The order of strategies that are expected to cost so much; `ruled` is the rules' order."""
        known = dict(ruled)
        order = sorted(known, key=lambda name: known[name].cost_s)
        scores = tuple((name, known[name].cost_s) for name in order)
        by_rules, best = [name for name, _ in ruled], known[order[0]]
        agrees = order[0] is by_rules[0]
        other = known[order[1] if agrees else by_rules[0]]
        gain = other.cost_s - best.cost_s
        error = math.hypot(other.error_s, best.error_s)
        confidence = round(0.5 * (1 + math.erf(gain / (error * math.sqrt(2)))) if error else 1.0, 3)
        if agrees:
            return _Ranking(by_rules, scores, confidence, f"model {self.model_id} agrees: {_costs(scores)}")
        if gain < MARGIN * other.cost_s or gain < CERTAINTY * error:
            why = f"rules, the model's margin is low: {_costs(scores)}"
            return _Ranking(by_rules, scores, confidence, why)
        return _Ranking(order, scores, confidence, f"model {self.model_id}: {_costs(scores)}")

    def _chosen(
        self, facts: FileFacts, choices: Mapping[ContentStrategy, Choice], ranking: _Ranking
    ) -> Sequence[Choice]:
        order, why = ranking.order, ranking.why
        if self._explores(facts):
            order, why = [*order[1:], order[0]], f"explored instead of {order[0]}"
        return [
            Choice(name, f"{choices[name].why}; {why}", self.name, ranking.scores, ranking.confidence)
            for name in order
        ]

    def _explores(self, facts: FileFacts) -> bool:
        if not self._explore:
            return False
        draw = hashlib.blake2b(to_bytes(facts.path), key=self._seed, digest_size=4).digest()
        return int.from_bytes(draw) < self._explore * 2**32


def _by_rules(ruled: Sequence[Choice], why: str) -> list[Choice]:
    return [choice._replace(why=f"{choice.why}; rules: {why}") for choice in ruled]


def _costs(scores: Sequence[tuple[ContentStrategy, float]]) -> str:
    return " < ".join(f"{strategy} {units.precise(cost)}" for strategy, cost in scores)
