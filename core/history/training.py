"""From the history to a model, and an honest judgement of it: what the rules and the model would have cost.

A file's cost is publishing time + fetching time + dollars, dollars turned into seconds at
`selector.usd_per_hour`; a file that did not arrive counts as `selector.failure_cost`.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from core.errors import ConfigurationError, UsageError
from core.events.common import ContentStrategy
from core.history.store import Observation
from core.repository.facts import Entry, FileFacts
from core.settings.operations import CostSettings
from core.settings.sections import SelectorSettings
from core.strategies.base import Feasibility
from core.strategies.learned import LearnedSelector
from core.strategies.model import (
    FEATURES,
    Leaf,
    Model,
    Split,
    Trained,
    Tree,
    features_of,
    kind_of,
    tree_key,
)
from core.strategies.selector import RuleSelector
from core.telemetry.cost import Usage, price

DEPTH: Final = 4
LEAF_FILES: Final = 20
HELD_OUT: Final = 0.3
RESAMPLES: Final = 1000
FEWEST_CASES: Final = 50
NOT_ABOVE: Final = 1.02
"""Ratio to the rules that no part of the held-out files may exceed, for a model to be activated."""

SIZE_CLASSES: Final = ((1 << 10, "up to 1 KB"), (10 << 10, "up to 10 KB"), (100 << 10, "up to 100 KB"))


@dataclass(frozen=True, slots=True)
class Money:
    """What turns usage into seconds."""

    selector: SelectorSettings
    rates: CostSettings

    def seconds(self, seen: Observation) -> float:
        """The total cost of a file that arrived, in seconds."""
        stored = seen.size if seen.strategy == ContentStrategy.OBJECT_STORAGE else 0
        usage = Usage(
            stored_bytes=stored,
            transferred_bytes=seen.wire_bytes or 0,
            puts=1 if stored else 0,
            gets=seen.attempts or 0 if stored and not seen.cache_hit else 0,
        )
        dollars = price(usage, self.rates).first_month or 0.0
        return seen.pack_s + (seen.resolve_s or 0.0) + dollars * 3600 / self.selector.usd_per_hour

    def total(self, seen: Observation) -> float:
        """As `seconds`, a failure included at its own cost."""
        return self.selector.failure_cost if seen.failed else self.seconds(seen)


def usable(history: Sequence[Observation]) -> list[Observation]:
    """What strategies are judged by: a stand-in tells of a fault, not of a choice."""
    return [seen for seen in history if seen.wanted is None]


def train(
    history: Sequence[Observation],
    money: Money,
    *,
    metrics: Mapping[str, Any] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Model:
    """A model of every strategy and backend of which there is enough history.

    Raises `UsageError` where there is too little of any, `ConfigurationError` without scikit-learn.
    """
    groups: dict[str, list[Observation]] = defaultdict(list)
    for seen in usable(history):
        groups[tree_key(seen.strategy, seen.backend)].append(seen)
    least = money.selector.min_files
    trees = {key: _tree(seen, money) for key, seen in sorted(groups.items()) if len(seen) >= least}
    if not trees:
        counts = ", ".join(f"{key}: {len(seen)}" for key, seen in sorted(groups.items())) or "none"
        raise UsageError(
            f"there is too little history to learn from ({counts}; {least} of one kind are needed)",
            hint="ingest more, or set selector.min_files",
        )
    first, last = (datetime.fromtimestamp(history[at].at, UTC).isoformat() for at in (0, -1))
    trained = Trained(
        at=now().isoformat(timespec="seconds"),
        first=first,
        last=last,
        files=sum(len(groups[key]) for key in trees),
        min_files=least,
        usd_per_hour=money.selector.usd_per_hour,
        failure_cost_s=money.selector.failure_cost,
        rates=money.rates.model_dump(),
    )
    return Model(trained=trained, metrics=dict(metrics or {}), trees=trees)


def _tree(seen: Sequence[Observation], money: Money) -> Tree:
    kinds = Counter(kind_of(each.encoding) for each in seen)
    return Tree(
        smallest=min(each.size for each in seen),
        largest=max(each.size for each in seen),
        kinds=tuple(sorted(kind for kind, files in kinds.items() if files >= LEAF_FILES)),
        root=_root(seen, money),
    )


def _root(seen: Sequence[Observation], money: Money) -> Leaf | Split:
    try:
        from sklearn.tree import DecisionTreeRegressor
    except ImportError:
        raise ConfigurationError(
            "training needs scikit-learn, which is not installed", hint='pip install "archon-ingest[ml]"'
        ) from None
    rows = [features_of(each.size, each.encoding) for each in seen]
    costs = [money.total(each) for each in seen]
    fitted = DecisionTreeRegressor(max_depth=DEPTH, min_samples_leaf=LEAF_FILES, random_state=0)
    fitted.fit(rows, costs)
    leaves: dict[int, list[Observation]] = defaultdict(list)
    for leaf, each in zip(fitted.apply(rows), seen, strict=True):
        leaves[int(leaf)].append(each)
    return _exported(fitted.tree_, 0, leaves, money)


def _exported(tree: Any, node: int, leaves: Mapping[int, list[Observation]], money: Money) -> Leaf | Split:
    if tree.children_left[node] < 0:
        return _leaf(leaves[node], money)
    return Split(
        feature=FEATURES[tree.feature[node]],
        at=float(tree.threshold[node]),
        low=_exported(tree, int(tree.children_left[node]), leaves, money),
        high=_exported(tree, int(tree.children_right[node]), leaves, money),
    )


def _leaf(seen: Sequence[Observation], money: Money) -> Leaf:
    costs = [money.seconds(each) for each in seen if not each.failed]
    failed = len(seen) - len(costs)
    spread = statistics.stdev(costs) if len(costs) > 1 else 0.0
    return Leaf(
        cost_s=statistics.fmean(costs) if costs else 0.0,
        error_s=spread / max(1, len(costs)) ** 0.5,
        failure=failed / len(seen),
        files=len(seen),
    )


class Case(NamedTuple):
    """A file that the held-out history knows the cost of under several strategies, in seconds."""

    size: int
    encoding: str | None
    backends: Mapping[ContentStrategy, str]
    costs: Mapping[ContentStrategy, float]

    @property
    def key(self) -> frozenset[tuple[ContentStrategy, str]]:
        """What one selector is made for."""
        return frozenset(self.backends.items())


Interval = tuple[float, float]
Costs = tuple[float, float, float]
"""Of a file, or on average, in seconds: by the rules, by the model, by the oracle."""


@dataclass(frozen=True, slots=True)
class Share:
    """What some held-out files cost on average, in seconds, by whose choice. `oracle` knew the outcome.

    Intervals hold the figure with 95 % confidence (bootstrap over files); a regret is the cost over the
    oracle's.
    """

    cases: int
    rules_s: float
    model_s: float
    oracle_s: float
    ratio_95: Interval
    rules_regret_95: Interval
    model_regret_95: Interval

    @property
    def rules_regret_s(self) -> float:
        """What the rules cost over the oracle."""
        return self.rules_s - self.oracle_s

    @property
    def model_regret_s(self) -> float:
        """What the model costs over the oracle."""
        return self.model_s - self.oracle_s

    @property
    def ratio(self) -> float:
        """The model's cost over the rules'."""
        return self.model_s / self.rules_s if self.rules_s else 1.0

    def to_json(self) -> dict[str, Any]:
        """The published shape."""
        return {
            "cases": self.cases,
            "rules_s": self.rules_s,
            "model_s": self.model_s,
            "oracle_s": self.oracle_s,
            "rules_regret_s": self.rules_regret_s,
            "rules_regret_95": self.rules_regret_95,
            "model_regret_s": self.model_regret_s,
            "model_regret_95": self.model_regret_95,
            "ratio": self.ratio,
            "ratio_95": self.ratio_95,
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A judgement on the newest part of the history by a model of the older part."""

    whole: Share | None
    parts: Mapping[str, Share]
    held_out: int
    predict_us: float

    @property
    def verdict(self) -> str | None:
        """Why the model is not to be activated; None if it may be."""
        if self.whole is None or self.whole.cases < FEWEST_CASES:
            cases = self.whole.cases if self.whole else 0
            return (
                f"only {cases} held-out files are known under several strategies, {FEWEST_CASES} are needed; "
                "set selector.explore, or ingest the same files by several strategies"
            )
        if self.whole.ratio > 1:
            return f"it costs {self.whole.ratio - 1:.1%} more than the rules"
        for name, share in self.parts.items():
            if share.cases >= FEWEST_CASES and share.ratio > NOT_ABOVE:
                return f"it costs {share.ratio - 1:.1%} more than the rules for files {name}"
        return None

    def to_json(self) -> dict[str, Any]:
        """The published shape, which is also a model's `metrics`."""
        return {
            "whole": self.whole.to_json() if self.whole else None,
            "parts": {name: share.to_json() for name, share in self.parts.items()},
            "held_out_files": self.held_out,
            "predict_us": self.predict_us,
            "refused": self.verdict,
        }


def evaluate(
    history: Sequence[Observation], money: Money, *, seed: int = 0, clock: Callable[[], float]
) -> Evaluation:
    """Train on the older 70 % of the history, judge on the rest; raises what `train` raises.

    Judged are the files that the rest knows under at least two strategies; a file is known again by its
    project, extension, encoding and exact size. Costs are means of what was measured, nothing is modelled.
    `clock` is of CPU time.
    """
    cut = int(len(history) * (1 - HELD_OUT))
    model = train(history[:cut], money)
    cases = _cases(usable(history[cut:]), money)
    rules = RuleSelector()
    selectors = {
        # A clock that stands: a slow machine must not turn the judgement into one of the rules.
        case.key: LearnedSelector(model, case.backends, rules, clock=lambda: 0.0)
        for case in cases
    }
    asked = [(selectors[case.key], *_question(case)) for case in cases]
    started = clock()
    chosen = [learned.rank(facts, verdicts, None)[0].strategy for learned, facts, verdicts in asked]
    seconds = (clock() - started) / max(1, len(cases))
    ruled = [rules.rank(facts, verdicts, None)[0].strategy for _, facts, verdicts in asked]
    judged = [
        (case.costs[first], case.costs[choice], min(case.costs.values()))
        for case, first, choice in zip(cases, ruled, chosen, strict=True)
    ]
    parts: dict[str, list[Costs]] = defaultdict(list)
    for case, first, costs in zip(cases, ruled, judged, strict=True):
        parts[size_class(case.size)].append(costs)
        parts[f"that the rules send by {first}"].append(costs)
    draw = random.Random(seed)  # noqa: S311 - a bootstrap, not a secret
    return Evaluation(
        _share(judged, draw) if judged else None,
        {name: _share(costs, draw) for name, costs in sorted(parts.items())},
        len(history) - cut,
        round(seconds * 1e6, 2),
    )


def size_class(size: int) -> str:
    """The class of a size in bytes."""
    return next((name for limit, name in SIZE_CLASSES if size <= limit), "over 100 KB")


def _cases(seen: Sequence[Observation], money: Money) -> list[Case]:
    found: dict[tuple[object, ...], dict[tuple[str, str], list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for each in seen:
        same = (each.project, each.extension, each.encoding, each.size)
        found[same][each.strategy, each.backend].append(money.total(each))
    cases: list[Case] = []
    for (_, _, encoding, size), costs in found.items():
        backends = {ContentStrategy(strategy): backend for strategy, backend in costs}
        if len(backends) < 2 or len(backends) < len(costs):
            continue  # one strategy only, or one at two backends: no comparison of like with like
        means = {ContentStrategy(strategy): statistics.fmean(each) for (strategy, _), each in costs.items()}
        cases.append(Case(int(str(size)), None if encoding is None else str(encoding), backends, means))
    return cases


def _question(case: Case) -> tuple[FileFacts, Mapping[ContentStrategy, Feasibility]]:
    """What a selector is asked for a case: which of the strategies that the case knows."""
    verdicts = {name: Feasibility(True, "") for name in case.costs}
    entry = Entry("case", case.size, None, 0o100644)
    facts = FileFacts(entry, None, case.encoding is None, case.encoding, False, False, False, None)
    return facts, verdicts


def _share(costs: Sequence[Costs], draw: random.Random) -> Share:
    means = [_mean(draw.choices(costs, k=len(costs))) for _ in range(RESAMPLES)]
    return Share(
        len(costs),
        *_mean(costs),
        ratio_95=_interval(model / rules if rules else 1.0 for rules, model, _ in means),
        rules_regret_95=_interval(rules - oracle for rules, _, oracle in means),
        model_regret_95=_interval(model - oracle for _, model, oracle in means),
    )


def _mean(costs: Sequence[Costs]) -> Costs:
    rules, model, oracle = (sum(column) / len(costs) for column in zip(*costs, strict=True))
    return rules, model, oracle


def _interval(figures: Iterable[float]) -> Interval:
    """What 95 % of the figures of all resamples lie between."""
    ordered = sorted(figures)
    return ordered[int(RESAMPLES * 0.025)], ordered[int(RESAMPLES * 0.975)]
