"""The learned selector: data that cannot run code, the cheapest choice where it is sure, else the rules."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigurationError
from core.events.common import ContentStrategy
from core.repository.facts import Entry, FileFacts
from core.strategies.base import Feasibility
from core.strategies.learned import WARM_UP_FILES, LearnedSelector
from core.strategies.model import DEPTH_LIMIT, Leaf, Model, Split, Trained, Tree, load
from core.strategies.selector import RuleSelector

INLINE, OBJECT, GIT = ContentStrategy.INLINE, ContentStrategy.OBJECT_STORAGE, ContentStrategy.GIT_REFERENCE
BACKENDS = {INLINE: "log", OBJECT: "store", GIT: "host"}
ALL = dict.fromkeys((INLINE, OBJECT, GIT), Feasibility(True, "can"))


def leaf(cost_s: float, failure: float = 0.0, error_s: float = 0.0001) -> Leaf:
    return Leaf(cost_s=cost_s, error_s=error_s, failure=failure, files=100)


def model(**trees: Leaf | Split) -> Model:
    trained = Trained(
        at="2026-01-01", first="2025-12-01", last="2026-01-01", files=300, min_files=100, usd_per_hour=10,
        failure_cost_s=60, rates={},
    )  # fmt: skip
    keys = {"inline": "inline log", "storage": "object_storage store", "git": "git_reference host"}
    learned = {keys[name]: tree_of(root) for name, root in trees.items()}
    return Model(trained=trained, metrics={}, trees=learned)


def tree_of(root: Leaf | Split, smallest: int = 100, largest: int = 100_000) -> Tree:
    return Tree(smallest=smallest, largest=largest, kinds=("text",), root=root)


def facts(size: int = 1000, path: str = "a.py", encoding: str | None = "utf-8") -> FileFacts:
    return FileFacts(Entry(path, size, None, 0o100644), None, False, encoding, False, False, False, None)


def selector(made: Model, **options: Any) -> LearnedSelector:
    return LearnedSelector(made, BACKENDS, RuleSelector(), **options)


CHEAP_STORAGE = model(inline=leaf(0.1), storage=leaf(0.01), git=leaf(0.2))


def test_the_cheapest_is_chosen_and_says_why() -> None:
    first, *others = selector(CHEAP_STORAGE).rank(facts(), ALL, None)
    assert (first.strategy, first.selector) == (OBJECT, "learned")
    assert first.scores == ((OBJECT, 0.01), (INLINE, 0.1), (GIT, 0.2))
    assert first.confidence
    assert first.confidence > 0.99
    assert f"model {CHEAP_STORAGE.id}: object_storage 10 ms < inline 100 ms" in first.why
    assert [choice.strategy for choice in others] == [INLINE, GIT]


def test_agreeing_with_the_rules_it_is_as_sure_as_the_next_is_dearer() -> None:
    made = model(inline=leaf(0.01), storage=leaf(0.1), git=leaf(0.2))
    first = selector(made).rank(facts(), ALL, None)[0]
    assert (first.strategy, first.confidence) == (INLINE, 1.0)
    assert "agrees" in first.why
    close = model(inline=leaf(0.1, error_s=0.1), storage=leaf(0.101, error_s=0.1), git=leaf(0.2))
    assert (selector(close).rank(facts(), ALL, None)[0].confidence or 0) < 0.6


def test_only_feasible_strategies_are_ranked() -> None:
    verdicts = {**ALL, OBJECT: Feasibility(False, "down")}
    assert [choice.strategy for choice in selector(CHEAP_STORAGE).rank(facts(), verdicts, None)] == [
        INLINE,
        GIT,
    ]


def test_a_file_that_often_fails_is_dear() -> None:
    made = model(inline=leaf(0.1), storage=leaf(0.01, failure=0.01), git=leaf(0.2))
    assert selector(made).rank(facts(), ALL, None)[0].strategy is INLINE


def test_the_users_choice_stands() -> None:
    first = selector(CHEAP_STORAGE).rank(facts(), ALL, GIT)[0]
    assert (first.strategy, first.selector) == (GIT, "rules")


@pytest.mark.parametrize(
    ("storage", "why"),
    [
        (leaf(0.095), "margin is low"),
        (leaf(0.05, error_s=0.2), "margin is low"),
        (None, "fewer than 100 observations of object_storage at this backend"),
    ],
)
def test_without_certainty_the_rules_choose_and_it_is_said(storage: Leaf | None, why: str) -> None:
    trees = {"inline": leaf(0.1), "git": leaf(0.2)} | ({"storage": storage} if storage else {})
    choices = selector(model(**trees)).rank(facts(), ALL, None)
    assert [choice.strategy for choice in choices] == [INLINE, GIT, OBJECT]
    assert why in choices[0].why


@pytest.mark.parametrize(
    "file",
    [
        facts(size=201_000),
        facts(size=40),
        facts(encoding=None),
        facts(encoding="shift_jis"),
        replace(facts(), entry=replace(facts().entry, unread=True)),
    ],
)
def test_a_file_unlike_all_that_were_seen_is_left_to_the_rules(file: FileFacts) -> None:
    first = selector(CHEAP_STORAGE).rank(file, ALL, None)[0]
    assert (first.strategy, first.scores) == (INLINE, ())
    assert "no file of this size and kind" in first.why or "are not known" in first.why


@pytest.mark.parametrize("size", [51, 199_000])
def test_a_file_a_little_larger_or_smaller_is_known(size: int) -> None:
    assert selector(CHEAP_STORAGE).rank(facts(size), ALL, None)[0].strategy is OBJECT


def test_features_split() -> None:
    tree = Split(feature="log2_size", at=12, low=leaf(0.01), high=leaf(1.0))
    made = model(inline=tree, storage=leaf(0.1), git=leaf(0.2))
    chosen = [selector(made).rank(facts(size), ALL, None)[0].strategy for size in (100, 100_000)]
    assert chosen == [INLINE, OBJECT]


def test_too_slow_a_model_is_given_up() -> None:
    ticks = iter(range(10**9))
    it = selector(CHEAP_STORAGE, clock=lambda: next(ticks) * 30e-6)
    chosen = [it.rank(facts(), ALL, None)[0] for _ in range(WARM_UP_FILES + 1)]
    assert (chosen[-2].strategy, chosen[-1].strategy) == (OBJECT, INLINE)
    assert "over 20 µs a file" in chosen[-1].why


def test_a_bounded_seeded_share_is_explored() -> None:
    paths = [f"{number}.py" for number in range(2000)]

    def explored(seed: int) -> set[str]:
        it = selector(CHEAP_STORAGE, explore=0.1, seed=seed, clock=lambda: 0.0)
        return {path for path in paths if it.rank(facts(path=path), ALL, None)[0].strategy is not OBJECT}

    assert 140 < len(explored(1)) < 260
    assert explored(1) == explored(1) != explored(2)
    assert not {
        path
        for path in paths
        if "explored" in selector(CHEAP_STORAGE).rank(facts(path=path), ALL, None)[0].why
    }


class TestFile:
    """A model on disk is data, and only the one that is meant."""

    def write(self, path: Path, text: str) -> str:
        path.write_text(text)
        return hashlib.sha256(text.encode()).hexdigest()

    def test_round_trip(self, tmp_path: Path) -> None:
        path = tmp_path / "model.json"
        assert self.write(path, CHEAP_STORAGE.to_json()) == CHEAP_STORAGE.digest
        assert load(path, CHEAP_STORAGE.digest) == CHEAP_STORAGE

    def test_without_or_with_another_digest_it_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "model.json"
        self.write(path, CHEAP_STORAGE.to_json())
        with pytest.raises(ConfigurationError, match="without its digest"):
            load(path, None)
        with pytest.raises(ConfigurationError, match="not the one meant"):
            load(path, "0" * 64)

    @pytest.mark.parametrize(
        "change",
        [
            {"schema_version": 1},
            {"schema_version": 3},
            {"cost_s": float("nan")},
            {"cost_s": -1},
            {"feature": "__import__", "at": 1},
            {"code": "import os"},
        ],
    )
    def test_what_is_no_model_is_refused(self, tmp_path: Path, change: dict[str, Any]) -> None:
        """The change is made to the document where it has the key, else to a leaf of a tree."""
        path = tmp_path / "model.json"
        document = json.loads(CHEAP_STORAGE.to_json())
        root = document["trees"]["inline log"]["root"]
        (document if change.keys() & document.keys() else root).update(change)
        digest = self.write(path, json.dumps(document))
        with pytest.raises(ConfigurationError, match=r"selector's model"):
            load(path, digest)

    @pytest.mark.parametrize(
        "text", ["", "[]", "\0", '{"trees":' + "[" * 100_000, "cos\nsystem\n(S'id'\ntR."]
    )
    def test_what_is_no_document_is_refused(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "model.json"
        digest = self.write(path, text)
        with pytest.raises(ConfigurationError, match=r"selector's model"):
            load(path, digest)

    def test_a_tree_too_deep_is_refused(self) -> None:
        tree: Leaf | Split = leaf(0.1)
        for _ in range(DEPTH_LIMIT + 1):
            tree = Split(feature="log2_size", at=1, low=leaf(0.1), high=tree)
        with pytest.raises(ConfigurationError, match="deeper"):
            selector(model(inline=tree))
