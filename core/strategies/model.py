"""The learned model: one decision tree per strategy and backend, as JSON that a person can read.

A tree's leaf says what a file of its kind is expected to cost, in seconds (dollars are turned into
seconds at the rate the model was trained with), and how likely it fails. Nothing of it can run code.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigurationError

SCHEMA: Final = 2
FEATURES: Final = ("log2_size", "is_binary", "is_recoded")
DEPTH_LIMIT: Final = 12
_BYTES_LIMIT: Final = 4 << 20

Finite = Annotated[float, Field(allow_inf_nan=False)]
Cost = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Leaf(_Part):
    """`error_s` is the standard error of `cost_s`, over so many `files`."""

    cost_s: Cost
    error_s: Cost
    failure: Annotated[float, Field(ge=0, le=1)]
    files: Annotated[int, Field(gt=0)]


class Split(_Part):
    """Files whose `feature` is at most `at` go `low`, the others `high`."""

    feature: Literal["log2_size", "is_binary", "is_recoded"]
    at: Finite
    low: Leaf | Split
    high: Leaf | Split


Kind = Literal["text", "binary", "recoded"]


class Tree(_Part):
    """What one strategy costs at one backend, and the files it was learned from: sizes in bytes."""

    smallest: Annotated[int, Field(ge=0)]
    largest: Annotated[int, Field(ge=0)]
    kinds: tuple[Kind, ...]
    root: Leaf | Split


class Trained(_Part):
    """What a model was trained on: times are ISO 8601, rates in dollars."""

    at: str
    first: str
    last: str
    files: int
    min_files: int
    usd_per_hour: float
    failure_cost_s: float
    rates: dict[str, float]


class Model(_Part):
    """The whole of a model; `metrics` is the held-out evaluation that it was judged by."""

    kind: Literal["archon selector model"] = "archon selector model"
    schema_version: int = SCHEMA
    features: tuple[str, ...] = FEATURES
    trained: Trained
    metrics: dict[str, Any]
    trees: dict[str, Tree]

    def to_json(self) -> str:
        """As it is written to disk."""
        return self.model_dump_json(indent=1) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of the file, in hex."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def id(self) -> str:
        """What plans and events call it."""
        return self.digest[:12]


class Expected(NamedTuple):
    """What a tree expects of a file."""

    cost_s: float
    error_s: float
    failure: float


# (feature index, threshold, low, high), or a leaf: walked some millions of times per second.
Node = tuple[int, float, Any, Any] | Expected


class Compiled(NamedTuple):
    """A tree, and the files it knows: of a kind it was learned from, of half to twice the size of one."""

    least: float
    most: float
    kinds: frozenset[tuple[float, ...]]
    root: Node

    def knows(self, log2_size: float, kind: tuple[float, ...]) -> bool:
        """Whether it was learned from files like this; `kind` are the features after the first."""
        return self.least <= log2_size <= self.most and kind in self.kinds


_FLAGS: Final[Mapping[Kind, tuple[float, ...]]] = {
    "text": (0.0, 0.0),
    "binary": (1.0, 0.0),
    "recoded": (0.0, 1.0),
}


def compiled(model: Model) -> Mapping[str, Compiled]:
    """The trees by their key, in the form that `expect` walks. Raises `ConfigurationError` where too deep."""
    return {
        key: Compiled(
            math.log2(tree.smallest + 1) - 1,
            math.log2(tree.largest + 1) + 1,
            frozenset(_FLAGS[kind] for kind in tree.kinds),
            _compiled(tree.root, model.trained.failure_cost_s, 0),
        )
        for key, tree in model.trees.items()
    }


def _compiled(tree: Leaf | Split, failure_cost_s: float, depth: int) -> Node:
    if depth > DEPTH_LIMIT:
        raise ConfigurationError(f"the selector's model has a tree deeper than {DEPTH_LIMIT}")
    if isinstance(tree, Leaf):
        return Expected(tree.cost_s + tree.failure * failure_cost_s, tree.error_s, tree.failure)
    low, high = (_compiled(side, failure_cost_s, depth + 1) for side in (tree.low, tree.high))
    return (FEATURES.index(tree.feature), tree.at, low, high)


def expect(node: Node, features: tuple[float, ...]) -> Expected:
    """The leaf that `features` lead to."""
    while not isinstance(node, Expected):
        index, threshold, low, high = node
        node = low if features[index] <= threshold else high
    return node


def kind_of(encoding: str | None) -> Kind:
    """The kind of a file's content. Recoded is text that travels as base64 (see `core.strategies.inline`)."""
    if encoding is None:
        return "binary"
    return "text" if encoding in {"utf-8", "utf-8-sig", "ascii", "latin-1"} else "recoded"


def features_of(size: int, encoding: str | None) -> tuple[float, ...]:
    """The values of `FEATURES`."""
    return (math.log2(size + 1), *_FLAGS[kind_of(encoding)])


def tree_key(strategy: str, backend: str) -> str:
    """The name of a tree."""
    return f"{strategy} {backend}"


def load(path: Path, digest: str | None) -> Model:
    """The model in `path`, which must have this SHA-256. Raises `ConfigurationError` for anything else."""
    if not digest:
        raise ConfigurationError(
            f"the selector's model {path} is not used without its digest",
            hint="set selector.digest to the SHA-256 that whoever trained it tells you",
        )
    try:
        with path.open("rb") as file:
            raw = file.read(_BYTES_LIMIT + 1)
    except OSError as error:
        raise ConfigurationError(
            f"the selector's model {path} cannot be read: {error.strerror}",
            hint="archon-agent selector train",
        ) from None
    if len(raw) > _BYTES_LIMIT:
        raise ConfigurationError(f"the selector's model {path} is larger than {_BYTES_LIMIT:,} B")
    if (found := hashlib.sha256(raw).hexdigest()) != digest.lower():
        raise ConfigurationError(
            f"the selector's model {path} is not the one meant: its digest is {found[:12]}…",
            hint="compare selector.digest with archon-agent selector show",
        )
    try:
        document = json.loads(raw)
        version = document.get("schema_version") if isinstance(document, dict) else None
        if version != SCHEMA:
            raise ConfigurationError(
                f"the selector's model {path} has schema {version}, this archon reads {SCHEMA}",
                hint="archon-agent selector train",
            )
        return Model.model_validate(document)
    except (ValueError, ValidationError, RecursionError) as error:
        text = str(error).splitlines()[0] if str(error) else "nested too deeply"
        raise ConfigurationError(f"the selector's model {path} is none: {text}") from None
